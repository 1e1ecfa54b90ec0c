// A plain watch that writes down every event, and whether two of them tell the same.
package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

type event struct{ what, key, version string }

func (e event) String() string { return e.what + " " + e.key + "@" + e.version }

// recorder watches one kind from a version on, and again from where it was when the watch ends.
type recorder struct {
	kind   kind
	door   *door
	mu     sync.Mutex
	events []event
	ends   []string
	at     string
}

func record(ctx context.Context, d *door, k kind, from int64) *recorder {
	r := &recorder{kind: k, door: d, at: fmt.Sprint(from)}
	go func() {
		for ctx.Err() == nil {
			r.once(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return r
}

func (r *recorder) once(ctx context.Context) {
	w, err := r.door.json.Resource(r.kind.gvr).Watch(ctx, metav1.ListOptions{ResourceVersion: r.at, AllowWatchBookmarks: true})
	if err != nil {
		return
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		r.mu.Lock()
		switch {
		case e.Type == watch.Error || !ok:
			r.ends = append(r.ends, fmt.Sprintf("%v", e.Object))
		case e.Type == watch.Bookmark:
			if number(u.GetResourceVersion()) < number(r.at) {
				r.ends = append(r.ends, fmt.Sprintf("a bookmark at %s after %s", u.GetResourceVersion(), r.at))
			}
			r.at = u.GetResourceVersion()
		default:
			r.events = append(r.events, event{string(e.Type), u.GetNamespace() + "/" + u.GetName(), u.GetResourceVersion()})
			r.at = u.GetResourceVersion()
		}
		r.mu.Unlock()
	}
}

func (r *recorder) heard() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event(nil), r.events...)
}

// same complains unless both heard the same events in the same order, but for hidden ones.
func (r *recorder) same(direct *recorder) string {
	ours, theirs := r.heard(), []event{}
	for _, e := range direct.heard() {
		if !strings.Contains(e.key, "/"+hidden) {
			theirs = append(theirs, e)
		}
	}
	for n := range max(len(ours), len(theirs)) {
		if n >= len(ours) || n >= len(theirs) || ours[n] != theirs[n] {
			return fmt.Sprintf("%s: heard %d, the server told %d; they part at %d: %v | %v", r.kind.plural, len(ours), len(theirs),
				n, ours[min(n, len(ours)):min(n+2, len(ours))], theirs[min(n, len(theirs)):min(n+2, len(theirs))])
		}
	}
	return r.orderly()
}

// condensed complains unless what was heard is some of what the server told, in its order, and the last of each object.
// After a restart an object's several changes may come as one.
func (r *recorder) condensed(direct *recorder) string {
	told, last := map[string]bool{}, map[string]string{}
	for _, e := range direct.heard() {
		if !strings.Contains(e.key, "/"+hidden) {
			told[e.key+"@"+e.version], last[e.key] = true, e.version
		}
	}
	heard := map[string]string{}
	for _, e := range r.heard() {
		if !told[e.key+"@"+e.version] {
			return fmt.Sprintf("%s: heard %v, which the server never told", r.kind.plural, e)
		}
		heard[e.key] = e.version
	}
	if why := state(heard).differs(state(last)); why != "" {
		return r.kind.plural + ": last heard of each object: " + why
	}
	return r.orderly()
}

// orderly complains of events that came twice or out of order, and of a watch that ended with an error.
func (r *recorder) orderly() string {
	before := event{}
	for _, e := range r.heard() {
		if number(e.version) <= number(before.version) {
			return fmt.Sprintf("%s: %v came after %v", r.kind.plural, e, before)
		}
		before = e
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ends) > 0 {
		return fmt.Sprintf("%s: %s", r.kind.plural, few(r.ends))
	}
	return ""
}

// recordAll starts, for each kind, a recorder through the agent and one past it, both from the same version.
func recordAll(ctx context.Context, c *cloud, through *door) (ours, theirs []*recorder) {
	for _, k := range kinds {
		_, version, a := c.direct.list(ctx, k.all())
		if version == 0 {
			stop("%s", a)
		}
		// The agent must know the collection from this version on, as it does after a client's list.
		if _, listed, a := through.list(ctx, k.all()); listed != 0 {
			version = listed
		} else {
			stop("%s", a)
		}
		ours = append(ours, record(ctx, through, k, version))
		theirs = append(theirs, record(ctx, c.direct, k, version))
	}
	return ours, theirs
}

// compare waits until every pair agrees.
func compare(ours, theirs []*recorder, how func(*recorder, *recorder) string) string {
	return within(20*time.Second, func() string {
		for n := range ours {
			if why := how(ours[n], theirs[n]); why != "" {
				return why
			}
		}
		return ""
	})
}
