// What crossed the line, as the API server saw it: the agent's requests in the audit log.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

type audit struct{ path string }

// asked is one request of the agent.
type asked struct {
	verb, uri string
	own       bool // of the agent itself, not one that it forwards
	at        time.Time
}

// mark is the place in the log that later entries are counted from.
func (a *audit) mark() int64 {
	info, err := os.Stat(a.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// since returns the agent's requests that arrived after the mark.
func (a *audit) since(mark int64) []asked {
	f, err := os.Open(a.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		stop("audit log: %v", err)
	}
	defer f.Close()
	if _, err := f.Seek(mark, io.SeekStart); err != nil {
		stop("audit log: %v", err)
	}
	var all []asked
	lines := bufio.NewReader(f)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return all // at the end, or at a line still being written
		}
		var entry struct {
			Verb       string
			RequestURI string
			UserAgent  string
			Timestamp  time.Time `json:"requestReceivedTimestamp"`
		}
		if err := json.Unmarshal(text, &entry); err != nil {
			stop("audit log: %v in %q", err, text)
		}
		all = append(all, asked{entry.Verb, entry.RequestURI, strings.HasPrefix(entry.UserAgent, "toono/"), entry.Timestamp})
	}
}

// lists keeps the requests that make the server send a whole collection.
func lists(all []asked) []asked {
	var found []asked
	for _, r := range all {
		if r.verb == "list" || r.verb == "watch" && strings.Contains(r.uri, "sendInitialEvents=true") {
			found = append(found, r)
		}
	}
	return found
}

// watches keeps the requests that only resume.
func watches(all []asked) []asked {
	var found []asked
	for _, r := range all {
		if r.verb == "watch" && !strings.Contains(r.uri, "sendInitialEvents=true") {
			found = append(found, r)
		}
	}
	return found
}

// noLists complains of every request that made the server send a whole collection since the mark: of anybody, or only the
// agent's own.
func (a *audit) noLists(mark int64, ownOnly bool) string {
	var complaints []string
	for _, r := range lists(a.since(mark)) {
		if ownOnly && !r.own {
			continue
		}
		complaints = append(complaints, fmt.Sprintf("%s %s at %s", r.verb, r.uri, r.at.Format("15:04:05.000")))
	}
	if len(complaints) == 0 {
		return ""
	}
	return fmt.Sprintf("%d lists crossed the line\n%s", len(complaints), few(complaints))
}
