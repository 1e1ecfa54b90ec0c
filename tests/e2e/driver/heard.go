// What the tap heard: how a node's components were answered, and what is never to be among it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// heardMark is the place in the tap's log that later lines are counted from.
func (n *node) heardMark() int64 {
	info, err := os.Stat(filepath.Join(n.dir, "heard.log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// heardSince returns the lines after the mark, each with the request that it belongs to, also where that is from before.
func (n *node) heardSince(mark int64) []heard {
	file, err := os.Open(filepath.Join(n.dir, "heard.log"))
	if err != nil {
		stop("tap: %v", err)
	}
	defer file.Close()
	var all []heard
	heads := map[int64]heard{} // by number, which begins anew with each start of the tap
	at := int64(0)
	for lines := bufio.NewReader(file); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return all // at the end, or at a line still being written
		}
		var h heard
		if err := json.Unmarshal(text, &h); err != nil {
			stop("tap: %v in %q", err, text)
		}
		if h.Method != "" {
			heads[h.N] = h
		} else {
			head := heads[h.N]
			h.Who, h.Method, h.URI = head.Who, head.Method, head.URI
		}
		if at >= mark {
			all = append(all, h)
		}
		at += int64(len(text))
	}
}

// what is the method and the resource of a request: `PATCH pods/status`.
func (h heard) what() string {
	path, query, _ := strings.Cut(h.URI, "?")
	words := strings.Split(strings.Trim(path, "/"), "/")
	words = words[min(len(words), map[string]int{"api": 2, "apis": 3}[words[0]]):]
	if len(words) > 2 && words[0] == "namespaces" {
		words = words[2:]
	}
	method := h.Method
	if strings.Contains(query, "watch=true") {
		method = "WATCH"
	} else if method == "GET" && len(words) == 1 {
		method = "LIST"
	}
	if len(words) > 2 {
		return method + " " + words[0] + "/" + words[2]
	}
	return method + " " + words[0]
}

func (h heard) String() string {
	return fmt.Sprintf("%s %s: %s %s: %d %s", h.At.Format("15:04:05.000"), h.Who, h.Method, h.URI, h.Status, h.What+h.Key)
}

// tally counts the answers of each sort.
func tally(all []heard) string {
	counts := map[string]int{}
	for _, h := range all {
		if h.What == "" {
			counts[fmt.Sprintf("%s %s %d", h.Who, h.what(), h.Status)]++
		}
	}
	var said []string
	for _, sort := range slices.Sorted(maps.Keys(counts)) {
		said = append(said, fmt.Sprintf("%s x%d", sort, counts[sort]))
	}
	return strings.Join(said, ", ")
}

// misled complains of answers after which a kubelet would end pods, or would believe that something is not there that is.
func misled(all []heard, pods int) string {
	var complaints []string
	for _, h := range all {
		resource := strings.TrimPrefix(strings.TrimPrefix(h.what(), "WATCH "), "LIST ")
		wanted := map[string]int{"pods": pods, "nodes": 1, "services": 2, "configmaps": 1, "secrets": 1, "endpointslices": 2, "servicecidrs": 1}[resource]
		switch {
		case h.What == "complete" && h.Items < wanted:
			complaints = append(complaints, fmt.Sprintf("only %d told of %d: %s", h.Items, wanted, h))
		case h.What == "DELETED" && resource == "pods":
			complaints = append(complaints, "told of a deletion: "+h.String())
		case h.Phase == "Failed" || h.Phase == "Succeeded":
			complaints = append(complaints, "the kubelet says that a pod is "+h.Phase+": "+h.String())
		case h.What == "error":
			complaints = append(complaints, "not understood: "+h.String())
		case h.What == "ERROR":
			complaints = append(complaints, "an error in a watch: "+h.String())
		case h.Status == 404 && resource != "PATCH events": // an event that never arrived is looked for, and sent anew
			complaints = append(complaints, "told that it is not there: "+h.String())
		}
	}
	return few(complaints)
}

// written complains of writes that were answered otherwise than is stated, the line being cut. A token is given again as it was
// recorded; the node's own lease and status are answered as if they were done; what must reach the server is left to be tried
// again, without a time to wait for; an event is held or cut off, for an error makes the kubelet forget it. Until `noticed` a
// client may have given up before the agent knew that the line is cut.
func written(all []heard, noticed time.Time) string {
	// A node's CSINode that was made and not read again before the cut is not known: the kubelet waits, and its pods run.
	stated := map[string][]int{
		"POST serviceaccounts/token": {201}, "PUT leases": {200}, "GET leases": {200}, "PATCH nodes/status": {200}, "POST nodes": {409},
		"PATCH pods/status": {503}, "DELETE pods": {503}, "POST pods": {503}, "POST events": {0, 201}, "PATCH events": {0, 200},
		"GET pods": {200}, "GET nodes": {200}, "GET csinodes": {200, 503},
	}
	wrong := map[string]heard{}
	counts := map[string]int{}
	for _, h := range all {
		codes, known := stated[h.what()]
		if h.Status == 0 && h.Key == context.Canceled.Error() && h.At.Before(noticed) {
			continue
		}
		if h.What != "" || !known || slices.Contains(codes, h.Status) && h.RetryAfter == "" {
			continue
		}
		sort := fmt.Sprintf("%s %s %d %s", h.Who, h.what(), h.Status, h.RetryAfter)
		wrong[sort] = h
		counts[sort]++
	}
	var complaints []string
	for _, sort := range slices.Sorted(maps.Keys(wrong)) {
		complaints = append(complaints, fmt.Sprintf("%d times (stated: %v) %s", counts[sort], stated[wrong[sort].what()], wrong[sort]))
	}
	return strings.Join(complaints, "\n")
}
