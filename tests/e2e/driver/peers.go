// Clients that are programs of their own, in other languages: each tells what it sees as lines of JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// peer is one such program watching one collection, with what it has said.
type peer struct {
	trail
	name   string
	kind   kind
	filled int               // times that it was told a whole collection
	fill   map[string]object // what it is being told now
	store  map[string]object
	gone   int // deletions it was told of objects that it did not know: made and deleted while it was away
	errors []string
	end    context.CancelFunc
	done   chan struct{}
}

// said is one line.
type said struct {
	Type    string
	Version string
	Text    string
	Object  json.RawMessage
}

// startPeer runs a program. It dies with us.
func startPeer(ctx context.Context, name string, k kind, program string, args ...string) *peer {
	ctx, cancel := context.WithCancel(ctx)
	p := &peer{name: name, kind: k, end: cancel, done: make(chan struct{}), store: map[string]object{}}
	command := exec.CommandContext(ctx, program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		stop("%s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewReaderSize(out, 64<<10)
		for {
			text, err := lines.ReadBytes('\n')
			if err == nil {
				p.hear(text)
				continue
			}
			if ctx.Err() == nil {
				_, _ = io.Copy(io.Discard, out)
				p.note("the program ended: %v, %v", err, command.Wait())
			} else {
				_ = command.Wait()
			}
			return
		}
	}()
	return p
}

// stop ends the program.
func (p *peer) stop() {
	p.end()
	<-p.done
}

func (p *peer) hear(text []byte) {
	var s said
	if err := json.Unmarshal(text, &s); err != nil {
		p.note("not a line of JSON: %v in %.300s", err, text)
		return
	}
	var key string
	var o object
	switch s.Type {
	case "ITEM", "ADDED", "MODIFIED", "DELETED", "APPLY":
		var err error
		if key, o, err = plain(s.Object); err != nil {
			p.note("%s: %v in %.300s", s.Type, err, text)
			return
		}
	}
	switch s.Type {
	case "INIT":
		p.mu.Lock()
		p.fill = map[string]object{}
		p.mu.Unlock()
	case "ITEM":
		p.item(key, o)
	case "INITDONE":
		p.whole(s.Version)
	case "ADDED", "MODIFIED", "DELETED", "APPLY":
		p.event(s.Type, key, o)
	case "BOOKMARK":
		var of struct {
			Metadata struct{ ResourceVersion string }
		}
		_ = json.Unmarshal(s.Object, &of)
		version, err := strconv.ParseUint(of.Metadata.ResourceVersion, 10, 64)
		if err != nil {
			p.note("bookmark without a version: %.300s", text)
			return
		}
		p.told(version, "a bookmark")
	default:
		p.mu.Lock()
		p.errors = append(p.errors, fmt.Sprintf("%.300s", text))
		p.mu.Unlock()
	}
}

func (p *peer) item(key string, o object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.fill[key]; twice {
		p.notes = append(p.notes, key+" is in the list twice")
	}
	p.fill[key] = o
}

// whole takes the end of a list: the trail begins there, the first time.
func (p *peer) whole(version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, _ := strconv.ParseUint(version, 10, 64) // not every client tells it
	for _, o := range p.fill {
		at = max(at, o.version)
	}
	if p.filled++; p.filled == 1 {
		p.from = at
	}
	p.newest = max(p.newest, at)
	p.store = p.fill
}

// event takes a change. A client that tells none from the other says APPLY for what came into being and what changed.
func (p *peer) event(what, key string, o object) {
	p.mu.Lock()
	_, there := p.store[key]
	switch {
	case what == "APPLY" && there:
		what = "MODIFIED"
	case what == "APPLY":
		what = "ADDED"
	case what == "ADDED" && there:
		p.notes = append(p.notes, fmt.Sprintf("%s is ADDED at %d, and was there", key, o.version))
	case what == "DELETED" && !there:
		p.gone++
	case what != "ADDED" && !there:
		p.notes = append(p.notes, fmt.Sprintf("%s is %s at %d, and was not there", key, what, o.version))
	}
	if what == "DELETED" {
		delete(p.store, key)
	} else {
		p.store[key] = o
	}
	p.mu.Unlock()
	p.add(step{what, key, o})
}

// held is what the program has been told that there is.
func (p *peer) held() listing {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := listing{p.newest, map[string]object{}}
	for key, o := range p.store {
		l.objects[key] = o
	}
	return l
}

// has says whether the program was told a whole collection, and this one.
func (p *peer) has(want listing) string {
	p.mu.Lock()
	filled, errors := p.filled, few(p.errors)
	p.mu.Unlock()
	if filled == 0 {
		return fmt.Sprintf("%s of %s was told no collection yet; %s", p.name, p.kind.plural, errors)
	}
	if why := differs(want, p.held()); why != "" {
		return fmt.Sprintf("%s of %s: %s", p.name, p.kind.plural, why)
	}
	return ""
}

// disturbed complains of every error told, and of a collection told anew.
func (p *peer) disturbed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	complaints := append([]string{}, p.errors...)
	if p.filled > 1 {
		complaints = append(complaints, fmt.Sprintf("the collection was told anew %d times", p.filled-1))
	}
	return few(complaints)
}

// kindOf finds a kind by its plural.
func kindOf(plural string) kind {
	for _, k := range kinds {
		if k.plural == plural {
			return k
		}
	}
	stop("no kind %q", plural)
	return kind{}
}
