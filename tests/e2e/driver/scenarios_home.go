// Sixty small collections, as a kubelet watches every configmap and secret by name: what their return costs the line.
package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	small    = 60
	mostLine = 20 << 10 // bytes of payload, TLS included
)

func homecoming(s *scene) {
	const namespace = "small"
	if err := s.cloud.namespace(s.ctx, namespace); err != nil {
		stop("%v", err)
	}
	maps := kinds[0]
	for i := range small {
		s.writer.createAs(s.ctx, maps, namespace, fmt.Sprintf("one-%d", i), i)
	}
	mark := s.cloud.audit.mark()
	f := &fleet{}
	for i := range small {
		// Every second one as a kubelet does it; the others in JSON. All start as their lane starts.
		l := lanes[i%len(lanes)]
		f.informers = append(f.informers, inform(s.ctx, s.agent.door, maps, l, namespace, fmt.Sprintf("metadata.name=one-%d", i)))
	}
	if !s.check(fmt.Sprintf("%d informers of one object sync", small), f.synced(30*time.Second)) {
		return
	}
	if !s.check("each is watched upstream", within(20*time.Second, func() string { return s.upstream(mark, namespace) })) {
		return
	}
	time.Sleep(2 * time.Second)
	began := f.lists()
	for _, how := range []mode{refuse, reset, drop} {
		s.line.set(how)
		cutAt := time.Now()
		if how == drop { // long enough that the agent gives the line up
			within(20*time.Second, func() string { return s.probe().isStatus(503) })
		}
		time.Sleep(3 * time.Second)
		mark = s.cloud.audit.mark()
		s.line.count()
		s.line.set(pass)
		restored := time.Now()
		// A silent line that comes back may find its watches still open: then none need be resumed.
		again := func() string { return s.upstream(mark, namespace) }
		if how == drop {
			again = func() string { _, why := s.connected(0); return why }
		}
		why := within(60*time.Second, again)
		took := time.Since(restored)
		time.Sleep(2 * time.Second)
		up, down, connections := s.line.count()
		s.note("%s for %s: %d watches resumed in %s, %d bytes up, %d down, %d connections", how, restored.Sub(cutAt).Round(100*time.Millisecond),
			len(watches(s.cloud.audit.since(mark))), took.Round(time.Millisecond), up, down, connections)
		s.check(fmt.Sprintf("the line is used again after %s", how), why)
		why = ""
		if up+down > mostLine {
			why = fmt.Sprintf("%d bytes", up+down)
		}
		s.check(fmt.Sprintf("the return after %s costs %d bytes at most", how, mostLine), why)
		s.check(fmt.Sprintf("no list crosses the line after %s", how), s.cloud.audit.noLists(mark, false))
	}
	s.check("no informer lists again", f.again(began))
	for i := range small {
		s.writer.touch(s.ctx, maps, namespace, fmt.Sprintf("one-%d", i))
	}
	want := s.server.mustList(s.ctx, maps.in(namespace))
	s.check("a change of each arrives", within(10*time.Second, func() string {
		got := listing{objects: map[string]object{}}
		for _, i := range f.informers {
			for key, o := range i.store().objects {
				o.content = want.objects[key].content // versions suffice here
				got.objects[key] = o
			}
		}
		return differs(want, got)
	}))
}

// upstream complains until every small collection has been watched since the mark.
func (s *scene) upstream(mark int64, namespace string) string {
	found := map[string]bool{}
	for _, r := range s.cloud.audit.since(mark) {
		if r.verb != "watch" || !strings.Contains(r.uri, "/"+namespace+"/") {
			continue
		}
		if _, rest, ok := strings.Cut(r.uri, "one-"); ok {
			name, _, _ := strings.Cut(rest, "&")
			found[name] = true
		}
	}
	if len(found) < small {
		return fmt.Sprintf("%d of %d collections are watched upstream", len(found), small)
	}
	return ""
}
