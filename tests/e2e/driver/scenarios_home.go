// The line returns to a node of many small collections, as a kubelet's are.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// homecoming: sixty collections in which nothing has changed.
func homecoming(ctx context.Context, r *run) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, line, off := r.node()
	defer off()
	configmaps := kinds[0]
	start := r.cloud.audit.mark()
	var watched []*recorder
	for n := range 60 {
		name := fmt.Sprintf("alone-%02d", n)
		create(ctx, r.cloud, configmaps, home, name, n)
		_, version, answer := a.door.list(ctx, configmaps.in(home)+"?fieldSelector=metadata.name%3D"+name)
		if version == 0 {
			stop("%s", answer)
		}
		watched = append(watched, one(ctx, a.door, name, version))
	}
	resumed := func(mark int64) func() string {
		return func() string {
			if open := len(watches(r.cloud.audit.since(mark))); open < 60 {
				return fmt.Sprintf("%d watches reached the server", open)
			}
			return ""
		}
	}
	r.check("sixty collections are watched", within(20*time.Second, resumed(start)))
	time.Sleep(2 * time.Second)
	line.set(drop)
	r.check("the cut is noticed", within(40*time.Second, func() string {
		if answer := a.door.get(ctx, "/version"); answer.status != 503 {
			return answer.String()
		}
		return ""
	}))
	mark := r.cloud.audit.mark()
	line.count()
	line.set(pass)
	r.check("all sixty resume", within(30*time.Second, resumed(mark)))
	time.Sleep(time.Second)
	up, down, connections := line.count()
	why := ""
	if up+down > 20_000 {
		why = fmt.Sprintf("%d bytes", up+down)
	}
	r.check(fmt.Sprintf("at most 20 KB cross the line: %d up, %d down on %d connections", up, down, connections), why)
	r.check("no list among them", r.cloud.audit.noLists(mark))
	path := configmaps.in(home) + "/alone-07"
	r.cloud.direct.send(ctx, "PATCH", path, "application/merge-patch+json", `{"metadata":{"labels":{"home":"again"}}}`)
	r.check("a change arrives", within(10*time.Second, func() string {
		if len(watched[7].heard()) == 0 {
			return "nothing was heard"
		}
		return ""
	}))
}

// one records the events of one object, on a raw stream.
func one(ctx context.Context, d *door, name string, from int64) *recorder {
	r := &recorder{kind: kinds[0], door: d}
	target := fmt.Sprintf("%s?watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%%3D%s&resourceVersion=%d", kinds[0].in(home), name, from)
	go stream(ctx, d, target, func(line []byte) {
		var e struct {
			Type   string
			Object struct {
				Metadata struct{ Name, Namespace, ResourceVersion string }
			}
		}
		if json.Unmarshal(line, &e) == nil && e.Type != "BOOKMARK" {
			r.mu.Lock()
			m := e.Object.Metadata
			r.events = append(r.events, event{e.Type, m.Namespace + "/" + m.Name, m.ResourceVersion})
			r.mu.Unlock()
		}
	})
	return r
}
