// The agent is killed, and starts without a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// stream reads the lines of a watch until it ends.
func stream(ctx context.Context, d *door, target string, line func([]byte)) {
	request, err := http.NewRequestWithContext(ctx, "GET", d.base+target, nil)
	if err != nil {
		return
	}
	response, err := d.http.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		line(lines.Bytes())
	}
}

func reboot(ctx context.Context, r *run) {
	for _, watchList := range []bool{true, false} {
		clientGates.watchList = watchList
		mode := fmt.Sprintf("WatchList %v", watchList)
		ctx, cancel := context.WithCancel(ctx)
		a, line, off := r.node()
		churn(ctx, r.cloud, fmt.Sprintf("reboot-%v", watchList), 140)
		running := watchKinds(ctx, a.door, kinds)
		r.check(mode+": informers sync", within(20*time.Second, func() string { return agree(ctx, r.cloud, running) }))
		ours, theirs := recordAll(ctx, r.cloud, a.door)
		churn(ctx, r.cloud, "told", 70)
		r.check(mode+": all is told", compare(ours, theirs, (*recorder).same))
		told := map[string]int64{}
		for _, k := range kinds {
			_, told[k.plural], _ = a.door.list(ctx, k.all()+"?resourceVersion=0")
		}
		wanted := expected(ctx, r.cloud)
		line.set(drop)
		took, err := a.restart()
		if err != nil {
			stop("%v", err)
		}
		r.note("%s: listening %s after the kill", mode, took.Round(time.Millisecond))
		for _, k := range kinds {
			r.check(mode+": offline after kill -9: "+k.plural, fiveAtOnce(ctx, a.door, k, wanted[k.plural], told[k.plural]))
		}
		late := watchKinds(ctx, a.door, kinds)
		r.check(mode+": informers that start offline sync", within(20*time.Second, func() string {
			for _, i := range late {
				if !i.cache.HasSynced() {
					return i.kind.plural + " has not synced"
				}
				if why := i.holds().differs(wanted[i.kind.plural]); why != "" {
					return i.kind.plural + ": " + why
				}
			}
			return ""
		}))
		churn(ctx, r.cloud, "meanwhile", 70)
		mark := r.cloud.audit.mark()
		line.count()
		line.set(pass)
		all := append(append([]*informer{}, running...), late...)
		r.check(mode+": back: all informers hold what the server has", within(60*time.Second, func() string { return agree(ctx, r.cloud, all) }))
		r.check(mode+": back: none was told of an older version", well(all))
		r.check(mode+": back: plain watches heard the last of each object, in order", compare(ours, theirs, (*recorder).condensed))
		up, down, connections := line.count()
		r.note("%s: %d bytes up and %d down on %d connections", mode, up, down, connections)
		r.check(mode+": back: no list crossed the line", r.cloud.audit.noLists(mark))
		cancel()
		off()
	}
	clientGates.watchList = true
}

// kills: fifty random moments of a load, each followed by a start without a line.
func kills(ctx context.Context, r *run) {
	a, line, off := r.node()
	defer off()
	random := rand.New(rand.NewPCG(7, 7))
	configmaps := kinds[0]
	known, unknown := 0, 0
	why := ""
	states := map[string]map[int64]state{}
	for round := range 50 {
		namespace := fmt.Sprintf("kills-%d", round/4)
		path := configmaps.in(namespace)
		if round%4 == 0 {
			if err := r.cloud.namespace(ctx, namespace); err != nil {
				stop("%v", err)
			}
			for n := range 30 {
				create(ctx, r.cloud, configmaps, namespace, fmt.Sprintf("c-%02d", n), n)
			}
			states[namespace] = map[int64]state{}
		}
		line.set(pass)
		if complaint := within(20*time.Second, func() string { return fresh(ctx, a.door) }); complaint != "" {
			stop("the line does not come back: %s", complaint)
		}
		write := func() {
			s, version, answer := r.cloud.direct.list(ctx, path)
			if s == nil {
				stop("%s", answer)
			}
			states[namespace][version] = s.visible()
		}
		write()
		load, ended := context.WithCancel(ctx)
		var clients sync.WaitGroup
		clients.Go(func() { a.door.list(load, path); a.door.list(load, path) })
		clients.Go(func() {
			stream(load, a.door, path+"?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", func([]byte) {})
		})
		until := time.Now().Add(time.Duration(random.IntN(60_000)) * time.Microsecond)
		for n := 0; time.Now().Before(until); n++ {
			name := fmt.Sprintf("c-%02d", random.IntN(34))
			if n%4 == 3 {
				r.cloud.direct.send(ctx, "DELETE", path+"/"+name, "", "")
			} else {
				body, _ := json.Marshal(configmaps.object(name, n))
				if r.cloud.direct.send(ctx, "POST", path, "application/json", string(body)).status != 201 {
					r.cloud.direct.send(ctx, "PATCH", path+"/"+name, "application/merge-patch+json", fmt.Sprintf(`{"metadata":{"labels":{"n":"%d-%d"}}}`, round, n))
				}
			}
			write()
		}
		a.kill()
		ended()
		clients.Wait()
		line.set(refuse)
		if _, err := a.start(); err != nil {
			stop("%v", err)
		}
		s, version, answer := a.door.list(ctx, path)
		switch {
		case answer.status == 503:
			unknown++
			if complaint := answer.isStatus(503); complaint != "" {
				why = complaint
			}
		case s == nil:
			why = fmt.Sprintf("round %d: %s", round, answer)
		default:
			known++
			if complaint := s.differs(before(states[namespace], version)); complaint != "" {
				why = fmt.Sprintf("round %d, version %d: %s", round, version, complaint)
			}
		}
	}
	r.check(fmt.Sprintf("after 50 kills: a state that the server had (%d times) or 503 (%d times)", known, unknown), why)
	enough := ""
	if known < 20 {
		enough = fmt.Sprintf("only %d found anything", known)
	}
	r.check("enough of them had something to find", enough)
}

// before is the state at a version: the latest that was written down up to it.
func before(states map[int64]state, version int64) state {
	var found state
	latest := int64(-1)
	for v, s := range states {
		if v <= version && v > latest {
			latest, found = v, s
		}
	}
	return found
}
