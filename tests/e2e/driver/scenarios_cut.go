// The line is cut while clients ask, and returns.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// bound is what is promised for the first answer after a cut.
const bound = 5 * time.Second

// expected is what the server had of each kind when the line went.
func expected(ctx context.Context, c *cloud) map[string]state {
	all := map[string]state{}
	for _, k := range kinds {
		s, _, a := c.direct.list(ctx, k.all())
		if s == nil {
			stop("%s", a)
		}
		all[k.plural] = s.visible()
	}
	return all
}

// fiveAtOnce lists one kind by five clients at once and complains of any answer that is not right or too late.
func fiveAtOnce(ctx context.Context, d *door, k kind, wanted state, least int64) string {
	var mu sync.Mutex
	var complaints []string
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() {
			s, version, a := d.list(ctx, k.all())
			why := ""
			switch {
			case s == nil:
				why = a.String()
			case a.took > bound:
				why = fmt.Sprintf("%s took %s", a.asked, a.took)
			case version < least:
				why = fmt.Sprintf("%s is at version %d, clients were told %d", a.asked, version, least)
			default:
				why = s.differs(wanted)
			}
			if why != "" {
				mu.Lock()
				complaints = append(complaints, why)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if complaints == nil {
		return ""
	}
	return few(complaints)
}

func cut(ctx context.Context, r *run, how mode) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, line, off := r.node()
	defer off()
	churn(ctx, r.cloud, "cut-"+string(how), 140)
	informers := watchKinds(ctx, a.door, kinds)
	r.check("informers sync", within(20*time.Second, func() string { return agree(ctx, r.cloud, informers) }))
	ours, theirs := recordAll(ctx, r.cloud, a.door)
	told := map[string]int64{}
	for _, k := range kinds {
		_, told[k.plural], _ = a.door.list(ctx, k.all()+"?resourceVersion=0")
	}
	wanted := expected(ctx, r.cloud)
	right, why := 0, ""
	for n := range 20 {
		k := kinds[n%len(kinds)]
		line.set(how)
		if complaint := fiveAtOnce(ctx, a.door, k, wanted[k.plural], told[k.plural]); complaint != "" {
			why = fmt.Sprintf("round %d: %s", n, complaint)
		} else {
			right++
		}
		line.set(pass)
		if complaint := within(20*time.Second, func() string { return fresh(ctx, a.door) }); complaint != "" {
			stop("the line does not come back: %s", complaint)
		}
	}
	r.check(fmt.Sprintf("the first list of five clients at once is right, %d of 20 times", right), why)

	line.set(how)
	for _, k := range kinds {
		r.check("cut off: "+k.plural, fiveAtOnce(ctx, a.door, k, wanted[k.plural], told[k.plural]))
	}
	selected, _, _ := r.cloud.direct.list(ctx, "/api/v1/configmaps?labelSelector=third%3D1")
	s, _, answer := a.door.list(ctx, "/api/v1/configmaps?labelSelector=third%3D1")
	if s == nil {
		r.check("cut off: a label of a broader collection", answer.String())
	} else {
		r.check("cut off: a label of a broader collection", s.differs(selected.visible()))
	}
	r.check("cut off: never known is 503", a.door.get(ctx, "/api/v1/limitranges").isStatus(503))
	r.check("cut off: a write is 503", a.door.send(ctx, "POST", "/api/v1/namespaces/e2e/configmaps", "application/json", "{}").isStatus(503))
	churn(ctx, r.cloud, "missed-"+string(how), 140)
	mark := r.cloud.audit.mark()
	line.count()
	line.set(pass)
	r.check("back: informers hold what the server has", within(30*time.Second, func() string { return agree(ctx, r.cloud, informers) }))
	r.check("back: they were told of no older version", well(informers))
	r.check("back: plain watches heard each event once and in order", compare(ours, theirs, (*recorder).same))
	up, down, connections := line.count()
	r.note("%d bytes up and %d down on %d connections brought what 140 changes had made of 7 kinds", up, down, connections)
	r.check("back: no list crossed the line", r.cloud.audit.noLists(mark))
}

// fresh complains while the cloud does not answer through the agent.
func fresh(ctx context.Context, d *door) string {
	if a := d.get(ctx, "/version"); a.status != 200 {
		return a.String()
	}
	return ""
}
