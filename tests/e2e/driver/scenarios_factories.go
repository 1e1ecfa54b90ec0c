// Controllers behind the agent: dynamic and metadata informers, of a built-in kind and of a custom resource that is made through
// the agent, across cuts and an offline start.
package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// gears are a custom resource that is not there before the scenario.
var gears = kind{plural: "gears", word: "Gear", gvr: schema.GroupVersionResource{Group: "peers.toono.test", Version: "v1", Resource: "gears"}, namespaced: true,
	rest: func(i int) map[string]any {
		return map[string]any{"spec": map[string]any{"teeth": i, "ratio": 1.5, "of": []any{nil, map[string]any{"kind": "x"}}}}
	}}

const gearsDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gears.peers.toono.test"},
"spec":{"group":"peers.toono.test","scope":"Namespaced","names":{"plural":"gears","singular":"gear","kind":"Gear"},
"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},
"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// garrison is an informer of each client and kind, at one door.
type garrison struct {
	fleet
	clients   []client
	namespace string
}

func (s *scene) garrison(d *door, namespace string) *garrison {
	ctx, cancel := context.WithCancel(s.ctx)
	g := &garrison{fleet: fleet{stop: cancel}, namespace: namespace}
	for _, c := range untyped {
		for _, k := range []kind{kinds[0], gears} {
			g.informers = append(g.informers, informAs(ctx, c, d, k, namespace))
			g.clients = append(g.clients, c)
		}
	}
	return g
}

// reached waits until each informer was told what the server's own was told.
func (g *garrison) reached(truth *garrison, limit time.Duration) string {
	return within(limit, func() string {
		var complaints []string
		for n, i := range g.informers {
			if why := i.reached(&truth.informers[n].trail); why != "" {
				complaints = append(complaints, i.lane.name+" of "+i.kind.plural+": "+why)
			}
		}
		return few(complaints)
	})
}

// judge checks each informer's store and, where `trails`, what its handlers were told: one by one or condensed.
func (g *garrison) judge(s *scene, truth *garrison, when string, trails, strict bool) {
	for n, i := range g.informers {
		of := fmt.Sprintf("%s's informer of %s %s", i.lane.name, i.kind.plural, when)
		server := truth.informers[n]
		s.check(of+" holds what the server has", within(5*time.Second, func() string { return differs(server.store().seen(), i.store().seen()) }))
		why := ""
		if all, seen := len(i.store().objects), len(i.store().seen().objects); all != seen || i.shown.Load() > 0 {
			why = fmt.Sprintf("it holds %d hidden objects and was told %d events of such", all-seen, i.shown.Load())
		}
		s.check(of+" is shown nothing hidden", why)
		if !trails {
			continue
		}
		if strict {
			s.check(of+" is told the server's events, one by one", i.against(&server.trail))
		} else {
			_, why := i.condensed(&server.trail)
			s.check(of+" is told the server's events", why)
		}
	}
}

// asks lists and gets with each client, and compares with what the server's informers hold and what was told before.
func (g *garrison) asks(s *scene, truth *garrison, when string) {
	for n, i := range g.informers {
		c, want := g.clients[n], truth.informers[n].store().seen()
		of := fmt.Sprintf("%s of %s %s", c.name, i.kind.plural, when)
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		got, err := c.list(ctx, s.agent.door, i.kind, g.namespace)
		why := whyNot(err)
		if err == nil {
			why = differs(want, got.seen())
		}
		if told := i.highest(); why == "" && got.version < told {
			why = fmt.Sprintf("the list is at %d, its informer was told %d", got.version, told)
		}
		s.check("list by the "+of, why)
		if why = ""; err == nil && len(got.seen().objects) != len(got.objects) {
			why = fmt.Sprintf("%d hidden objects are in it", len(got.objects)-len(got.seen().objects))
		}
		s.check("nothing hidden in the list by the "+of, why)
		o, err := c.get(ctx, s.agent.door, i.kind, g.namespace, "stays")
		cancel()
		why = whyNot(err)
		if stays := want.objects[g.namespace+"/stays"]; err == nil && o != stays {
			why = fmt.Sprintf("got %v, expected %v", o, stays)
		}
		s.check("get by the "+of, why)
	}
}

// stir makes, changes and deletes objects of a kind in a namespace, hidden ones too, and one under a name used before.
func (s *scene) stir(k kind, namespace string, round int) {
	name := func(what string) string { return fmt.Sprintf("%s-%d", what, round) }
	for n, what := range []string{"new", "brief", hidden + "new"} {
		s.writer.createAs(s.ctx, k, namespace, name(what), 10*round+n)
	}
	s.writer.touch(s.ctx, k, namespace, "stays")
	s.writer.touch(s.ctx, k, namespace, name(hidden+"new"))
	s.writer.remove(s.ctx, k, namespace, name("brief"))
	s.writer.remove(s.ctx, k, namespace, "again")
	s.writer.createAs(s.ctx, k, namespace, "again", 10*round+3)
	s.writer.touch(s.ctx, k, namespace, name("new"))
}

// populate makes the objects that stir needs.
func (s *scene) populate(k kind, namespace string) {
	for n, name := range []string{"stays", "again", "old", hidden + "old"} {
		s.writer.createAs(s.ctx, k, namespace, name, n)
	}
}

func factories(s *scene) {
	const namespace = "factories"
	if err := s.cloud.namespace(s.ctx, namespace); err != nil {
		stop("%v", err)
	}
	through := s.agent.door
	why := ""
	if a, b := through.get(s.ctx, gears.all()), s.server.get(s.ctx, gears.all()); a.err != nil || a.status != 404 || string(a.body) != string(b.body) {
		why = fmt.Sprintf("%s\nthe server says: %s", a, b)
	}
	s.check("a custom resource that is not there is 404, in the server's words", why)
	made := through.send(s.ctx, "POST", definitions, "application/json", gearsDefinition)
	if why = ""; made.status != 201 || made.err != nil {
		why = made.String()
	}
	if !s.check("a custom resource is made through the agent", why) {
		return
	}
	if why := within(20*time.Second, func() string { _, err := s.server.list(s.ctx, gears.all()); return whyNot(err) }); why != "" {
		stop("gears are not served: %s", why)
	}
	for _, k := range []kind{kinds[0], gears} {
		s.populate(k, namespace)
	}
	s.check("the new custom resource is listed through the agent", s.sameList(gears.all()))

	truth, told := s.garrison(s.server, namespace), s.garrison(through, namespace)
	if why := truth.synced(30 * time.Second); why != "" {
		stop("informers of the server: %s", why)
	}
	if !s.check("informers of the factories sync", told.synced(30*time.Second)) {
		return
	}
	round := 0
	stir := func() {
		round++
		s.stir(kinds[0], namespace, round)
		s.stir(gears, namespace, round)
		if why := truth.caught(s, namespace); why != "" {
			stop("informers of the server: %s", why)
		}
	}
	time.Sleep(1200 * time.Millisecond) // client-go lists again by itself after a watch of less than a second
	stir()
	s.check("informers are told the last event", told.reached(truth, 15*time.Second))
	told.judge(s, truth, "online", true, true)
	told.asks(s, truth, "online")

	// The line is cut under them.
	s.line.set(drop)
	told.asks(s, truth, "while cut")
	fresh := s.garrison(through, namespace)
	if s.check("new informers sync while cut", fresh.synced(15*time.Second)) {
		fresh.judge(s, truth, "started while cut", false, false)
	}
	stir()
	s.line.set(pass)
	s.returns("", told, fresh, truth)
	told.judge(s, truth, "after a cut", true, true)
	fresh.judge(s, truth, "started while cut, after it", true, false)
	fresh.stop()

	// The node loses its power as well.
	s.line.set(refuse)
	if _, err := s.agent.restart(); !s.check("the agent starts offline", whyNot(err)) {
		return
	}
	told.asks(s, truth, "after an offline start")
	fresh = s.garrison(through, namespace)
	if s.check("new informers sync after an offline start", fresh.synced(15*time.Second)) {
		fresh.judge(s, truth, "started after an offline start", false, false)
	}
	stir()
	s.line.set(pass)
	s.returns(" after an offline start", told, fresh, truth)
	told.judge(s, truth, "after an offline start and the return", true, false)
	fresh.judge(s, truth, "started after an offline start, after the return", true, false)
	fresh.stop()
	s.abolished(told)
}

// returns waits for the line and for the last event.
func (s *scene) returns(when string, told, fresh, truth *garrison) {
	back, why := s.connected(30 * time.Second)
	s.check("the line is used again"+when, why)
	began := time.Now()
	s.check("informers are told the last event on the return"+when, told.reached(truth, 45*time.Second))
	s.check("informers started while cut are told the last event on the return"+when, fresh.reached(truth, 45*time.Second))
	s.note("the line is used again after %s, the last informer is up to date %.1f s later", back.Round(time.Millisecond), time.Since(began).Seconds())
}

// abolished takes the custom resource away: its objects are told deleted, and there is no list of it any more.
func (s *scene) abolished(told *garrison) {
	if a := s.server.send(s.ctx, "DELETE", definitions+"/gears.peers.toono.test", "", ""); a.status != 200 {
		stop("%s", a)
	}
	for _, i := range told.informers {
		if i.kind.plural != gears.plural {
			continue
		}
		s.check("no object is left in the "+i.lane.name+"'s informer of a custom resource that was abolished", within(15*time.Second, func() string {
			return differs(listing{}, i.store())
		}))
	}
	s.check("a list of a custom resource that was abolished is 404", within(10*time.Second, func() string {
		if a := s.agent.door.get(s.ctx, gears.all()); a.err != nil || a.status != 404 {
			return a.String()
		}
		return ""
	}))
}

// caught waits until the server's own informers hold what the server lists.
func (g *garrison) caught(s *scene, namespace string) string {
	return within(10*time.Second, func() string {
		for n, i := range g.informers {
			want, err := g.clients[n].list(s.ctx, s.server, i.kind, namespace)
			if err != nil {
				return err.Error()
			}
			if why := differs(want, i.store()); why != "" {
				return i.kind.plural + ": " + why
			}
		}
		return ""
	})
}

// sameList compares one list with the server's.
func (s *scene) sameList(target string) string {
	got, err := s.agent.door.list(s.ctx, target)
	if err != nil {
		return err.Error()
	}
	return differs(s.server.mustList(s.ctx, target).seen(), got)
}
