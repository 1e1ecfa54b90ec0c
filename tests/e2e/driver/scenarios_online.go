// Online: everything that is watched through the agent is what the server has, also when the agent is killed in between.
package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

func online(s *scene) {
	if !s.watch() {
		return
	}
	s.lists()
	began := time.Now()
	s.writer.churn(s.ctx, 60)
	s.note("%d changes in %.1f s", 60*len(kinds), time.Since(began).Seconds())
	s.converges("after changes", true, 15*time.Second)
	s.underLists()
	s.converges("after changes under lists", true, 15*time.Second)
	s.lists()

	before := s.fleet.lists()
	for range 3 {
		s.writer.churn(s.ctx, 5)
		s.agent.kill()
		s.writer.churn(s.ctx, 2)
		if _, err := s.agent.start(); !s.check("the agent starts after kill -9", whyNot(err)) {
			return
		}
		s.writer.churn(s.ctx, 5)
	}
	s.converges("through three restarts of the agent", false, 60*time.Second)
	s.check("a restart of the agent makes no informer list again", s.fleet.again(before))
	s.lists()
}

// underLists changes objects while clients list through the agent all the time.
func (s *scene) underLists() {
	var over atomic.Bool
	var all sync.WaitGroup
	var mu sync.Mutex
	var complaints []string
	listed := 0
	mark := s.cloud.audit.mark()
	for _, k := range kinds {
		all.Go(func() {
			for last := uint64(0); !over.Load(); {
				l, err := s.agent.door.list(s.ctx, k.all())
				mu.Lock()
				listed++
				if err != nil {
					complaints = append(complaints, err.Error())
				} else if l.version < last {
					complaints = append(complaints, fmt.Sprintf("list of %s at %d after one at %d", k.plural, l.version, last))
				}
				mu.Unlock()
				last = l.version
			}
		})
	}
	s.writer.churn(s.ctx, 30)
	over.Store(true)
	all.Wait()
	s.check(fmt.Sprintf("lists under %d changes", 30*len(kinds)), few(complaints))
	s.check("the agent lists nothing itself meanwhile", s.cloud.audit.noLists(mark, true))
	s.note("%d lists meanwhile", listed)
}

// lists compares every way of asking for a whole collection, the line being up.
func (s *scene) lists() {
	var plain, cached, paged, selected []string
	for _, k := range kinds {
		want := s.server.mustList(s.ctx, k.all())
		compare := func(to *[]string, query string, want listing) {
			got, err := s.agent.door.list(s.ctx, k.all()+query)
			why := whyNot(err)
			if err == nil {
				why = differs(want.seen(), got)
			}
			if why != "" {
				*to = append(*to, k.all()+query+": "+why)
			}
		}
		compare(&plain, "", want)
		compare(&cached, "?limit=500&resourceVersion=0", want)
		third := "?labelSelector=third%3D1"
		compare(&selected, third, s.server.mustList(s.ctx, k.all()+third))
		if why := s.pages(k, want); why != "" {
			paged = append(paged, why)
		}
	}
	s.check("lists", few(plain))
	s.check("lists with resourceVersion=0", few(cached))
	s.check("lists with a label selector", few(selected))
	s.check("lists in pages of seven", few(paged))
}

// pages reads a collection page by page.
func (s *scene) pages(k kind, want listing) string {
	got := listing{objects: map[string]object{}}
	next := ""
	for {
		a := s.agent.door.get(s.ctx, k.all()+"?limit=7"+next)
		page, token, err := a.page()
		if err != nil {
			return err.Error()
		}
		for key, o := range page.objects {
			if _, twice := got.objects[key]; twice {
				return fmt.Sprintf("%s: %s came twice", a.asked, key)
			}
			got.objects[key] = o
		}
		if token == "" {
			break
		}
		next = "&continue=" + token
	}
	if why := differs(want.seen(), got); why != "" {
		return k.all() + " in pages: " + why
	}
	return ""
}
