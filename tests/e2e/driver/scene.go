// What a scenario has at hand: an agent of its own behind a line of its own, and the shared cloud.
package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

type scene struct {
	*report
	ctx    context.Context
	close  context.CancelFunc
	cloud  *cloud
	server *door
	writer *writer
	line   *relay
	agent  *agent
	extra  []string // for kubectl's environment

	// Set by watch: all kinds watched at the server and through the agent, and informers through the agent.
	truth, told map[string]*recorder
	fleet       *fleet
}

// world outlives the scenarios.
type world struct {
	report  *report
	cloud   *cloud
	writer  *writer
	dir     string
	program string
	rounds  int // how often a scenario that is told by `--rounds` does its round
}

// scenario names one, and how to play it: with the shared cloud and an agent that is ready, or with what it makes itself.
type scenario struct {
	name  string
	play  func(*scene)
	alone func(context.Context, *world)
}

func (w *world) play(ctx context.Context, s scenario) {
	w.report.begin(s.name)
	defer w.report.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.alone != nil {
		s.alone(ctx, w)
		return
	}
	line, err := newRelay("127.0.0.1", w.cloud.address)
	if err != nil {
		stop("%s: %v", s.name, err)
	}
	a, err := newAgent(w.program, filepath.Join(w.dir, s.name), line, w.cloud.keys)
	if err != nil {
		w.report.check("the agent starts", err.Error())
		return
	}
	sc := &scene{report: w.report, ctx: ctx, close: cancel, cloud: w.cloud, server: w.cloud.direct, writer: w.writer, line: line, agent: a}
	s.play(sc)
	w.report.note("%s; %s", a.weight(), a.flash())
	w.report.check("the agent never ended by itself", a.died())
	a.proc.kill()
	line.set(refuse)
}

// watch fills the server a little and starts everything that watches. False: no use going on.
func (s *scene) watch() bool {
	s.writer.churn(s.ctx, 8)
	var err error
	if s.truth, err = records(s.ctx, s.server); err != nil {
		stop("%v", err)
	}
	if s.told, err = records(s.ctx, s.agent.door); err != nil {
		return s.check("plain watches start", err.Error())
	}
	s.fleet = startFleet(s.ctx, s.agent.door, lanes)
	began := time.Now()
	if !s.check(fmt.Sprintf("%d informers sync", len(s.fleet.informers)), s.fleet.synced(30*time.Second)) {
		return false
	}
	s.note("informers synced in %.1f s", time.Since(began).Seconds())
	time.Sleep(1200 * time.Millisecond) // client-go lists again by itself after a watch of less than a second
	return true
}

// settled waits until every watcher was told the server's last event.
func (s *scene) settled(limit time.Duration) string {
	return within(limit, func() string {
		var complaints []string
		for _, k := range kinds {
			if why := s.told[k.plural].reached(&s.truth[k.plural].trail); why != "" {
				complaints = append(complaints, "plain watch of "+k.plural+": "+why)
			}
		}
		for _, i := range s.fleet.informers {
			if why := i.reached(&s.truth[i.kind.plural].trail); why != "" {
				complaints = append(complaints, i.lane.name+" of "+i.kind.plural+": "+why)
			}
		}
		return few(complaints)
	})
}

// converges checks every store and every trail against the server's. `strict` is event for event; else events that a later one
// of the object replaced may be missing, as Kubernetes allows where a client was away.
func (s *scene) converges(when string, strict bool, limit time.Duration) {
	s.check("every watcher is told the last event "+when, s.settled(limit))
	s.fleet.converges(s.ctx, s.report, "stores equal the server's "+when, s.server, 10*time.Second)
	skipped := 0
	compare := func(t *trail, k kind) string {
		if strict {
			return t.against(&s.truth[k.plural].trail)
		}
		n, why := t.condensed(&s.truth[k.plural].trail)
		skipped += n
		return why
	}
	what := "the server's events"
	if strict {
		what += ", one by one,"
	}
	var complaints []string
	for _, k := range kinds {
		if why := compare(&s.told[k.plural].trail, k); why != "" {
			complaints = append(complaints, k.plural+": "+why)
		}
	}
	s.check("plain watches are told "+what+" "+when, few(complaints))
	for _, l := range lanes {
		complaints = nil
		for _, i := range s.fleet.informers {
			if i.lane != l {
				continue
			}
			if why := compare(&i.trail, i.kind); why != "" {
				complaints = append(complaints, i.kind.plural+": "+why)
			}
		}
		s.check("handlers of "+l.name+" are told "+what+" "+when, few(complaints))
	}
	if !strict {
		s.note("events condensed to a later one of the object, of all watchers: %d", skipped)
	}
}

// probe asks for something that the agent cannot know: 404 says that the line is used, 503 that it is not.
func (s *scene) probe() answer {
	return s.agent.door.get(s.ctx, "/apis/coordination.k8s.io/v1/namespaces/"+home+"/leases/never-there")
}

// connected waits until requests cross the line again, and returns how long it took.
func (s *scene) connected(limit time.Duration) (time.Duration, string) {
	began := time.Now()
	why := within(limit, func() string {
		if a := s.probe(); a.status != 404 {
			return fmt.Sprintf("the line is back, but: %s", a)
		}
		return ""
	})
	return time.Since(began), why
}
