// What a client was told, in order: the trail of a watch or of an informer, and how it compares with the server's own.
package main

import (
	"fmt"
	"sync"
)

// step is one event: what happened to which object, and the version it gave.
type step struct {
	what string // ADDED, MODIFIED, DELETED
	key  string
	object
}

func (s step) String() string { return fmt.Sprintf("%s %s at %d", s.what, s.key, s.version) }

// trail is a sequence of events of one collection from `from` on. Notes are things that should not happen to a watcher.
type trail struct {
	mu     sync.Mutex
	from   uint64 // events up to here were not watched
	newest uint64 // the highest version told, bookmarks and lists included
	steps  []step
	notes  []string
}

// add takes an event, and notes when its version goes back or stands still.
func (t *trail) add(s step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.version <= t.newest && !(s.version == t.newest && len(t.steps) == 0) {
		last := "no event"
		if len(t.steps) > 0 {
			last = t.steps[len(t.steps)-1].String()
		}
		t.notes = append(t.notes, fmt.Sprintf("%s came after version %d was told (last event: %s)", s, t.newest, last))
	}
	t.newest = max(t.newest, s.version)
	t.steps = append(t.steps, s)
}

// told takes a version told without an event: a bookmark's or a list's.
func (t *trail) told(version uint64, how string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version < t.newest {
		t.notes = append(t.notes, fmt.Sprintf("%s at %d after version %d was told", how, version, t.newest))
	}
	t.newest = max(t.newest, version)
}

func (t *trail) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *trail) highest() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest
}

// after copies the events above a version.
func (t *trail) after(version uint64) []step {
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []step
	for _, s := range t.steps {
		if s.version > version {
			kept = append(kept, s)
		}
	}
	return kept
}

// lastEvent is the version of the last event a client of the agent should have been told.
func (t *trail) lastSeen() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.steps) - 1; i >= 0; i-- {
		if !isHidden(t.steps[i].key) {
			return t.steps[i].version
		}
	}
	return 0
}

// reached says whether the trail has come to the last event the server's trail holds (hidden ones apart).
func (t *trail) reached(server *trail) string {
	want := server.lastSeen()
	if got := t.highest(); got < want {
		return fmt.Sprintf("the last version told is %d, the server's last event has %d", got, want)
	}
	return ""
}

// against compares with the server's trail: none lost, none doubled, none reordered, none hidden, same content.
func (t *trail) against(server *trail) string {
	from := max(t.from, server.from)
	var want []step
	for _, s := range server.after(from) {
		if !isHidden(s.key) {
			want = append(want, s)
		}
	}
	got := t.after(from)
	t.mu.Lock()
	complaints := append([]string{}, t.notes...)
	t.mu.Unlock()
	for i := 0; i < len(want) && i < len(got); i++ {
		w, g := want[i], got[i]
		if w.key != g.key || w.version != g.version || (w.what == "DELETED") != (g.what == "DELETED") {
			complaints = append(complaints, fmt.Sprintf("event %d of %d is %s, the server's is %s (%s)", i+1, len(want), g, w, t.kindOfLoss(want, got)))
			return few(complaints)
		}
		if w.what != g.what {
			complaints = append(complaints, fmt.Sprintf("event %d of %d is %s, the server said %s", i+1, len(want), g, w.what))
		}
		if w.content != g.content {
			complaints = append(complaints, fmt.Sprintf("event %d of %d, %s, has other content: %s\nthe server's: %s", i+1, len(want), g, g.content, w.content))
		}
	}
	if len(got) != len(want) {
		complaints = append(complaints, fmt.Sprintf("%d events, the server had %d (%s)", len(got), len(want), t.kindOfLoss(want, got)))
	}
	return few(complaints)
}

// condensed compares with the server's trail where events may have been condensed to the last of each object, as a watch that
// went on from before is told them: every event is one of the server's, none is older than one told before, and every object
// ends as the server's does. A deletion found by a list has the list's version.
func (t *trail) condensed(server *trail) (skipped int, why string) {
	from := max(t.from, server.from)
	want := map[string][]step{}
	for _, s := range server.after(from) {
		if !isHidden(s.key) {
			want[s.key] = append(want[s.key], s)
			skipped++
		}
	}
	last := map[string]step{}
	t.mu.Lock()
	complaints := append([]string{}, t.notes...)
	t.mu.Unlock()
	for _, g := range t.after(from) {
		skipped--
		last[g.key] = g
		var of step // the server's last event of the object up to this version
		for _, w := range want[g.key] {
			if w.version <= g.version {
				of = w
			}
		}
		gone := g.what == "DELETED"
		if gone != (of.what == "DELETED") || !gone && (of.version != g.version || of.content != g.content) {
			complaints = append(complaints, fmt.Sprintf("%s is not what the server had: %s", g, of))
		}
	}
	for key, steps := range want {
		w := steps[len(steps)-1]
		g, told := last[key]
		switch {
		case !told:
			complaints = append(complaints, fmt.Sprintf("%s was never told", w))
		case (g.what == "DELETED") != (w.what == "DELETED") || g.version < w.version:
			complaints = append(complaints, fmt.Sprintf("%s is the last told of what ended as %s", g, w))
		}
	}
	return skipped, few(complaints)
}

// kindOfLoss tells a lost event from one that a later state of the same object replaced.
func (t *trail) kindOfLoss(want, got []step) string {
	there := map[uint64]int{}
	last := map[string]uint64{}
	for _, g := range got {
		there[g.version]++
		last[g.key] = g.version
	}
	lost, replaced, doubled := 0, 0, 0
	for _, w := range want {
		switch {
		case there[w.version] > 1:
			doubled++
		case there[w.version] == 1:
		case last[w.key] > w.version:
			replaced++
		default:
			lost++
		}
	}
	return fmt.Sprintf("%d lost, %d skipped for a later event of the object, %d doubled", lost, replaced, doubled)
}
