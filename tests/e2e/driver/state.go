// What a list says, what an informer holds, and whether two of them are the same.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// state is objects by namespace/name, each by its version.
type state map[string]string

// list reads a whole list.
func (d *door) list(ctx context.Context, target string) (state, int64, answer) {
	a := d.get(ctx, target)
	if a.err != nil || a.status != 200 {
		return nil, 0, a
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []struct {
			Metadata struct{ Name, Namespace, ResourceVersion string }
		}
	}
	if a.err = json.Unmarshal(a.body, &list); a.err != nil {
		return nil, 0, a
	}
	s := state{}
	for _, item := range list.Items {
		s[item.Metadata.Namespace+"/"+item.Metadata.Name] = item.Metadata.ResourceVersion
	}
	return s, number(list.Metadata.ResourceVersion), a
}

// visible leaves out what the agent is told to drop.
func (s state) visible() state {
	seen := maps.Clone(s)
	maps.DeleteFunc(seen, func(key, _ string) bool {
		_, name, _ := strings.Cut(key, "/")
		return strings.HasPrefix(name, hidden)
	})
	return seen
}

// differs complains of what is not the same in both.
func (s state) differs(from state) string {
	var complaints []string
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if s[key] != from[key] {
			complaints = append(complaints, fmt.Sprintf("%s: is at %q, should be at %q", key, s[key], from[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if _, there := from[key]; !there {
			complaints = append(complaints, fmt.Sprintf("%s: is there, should not be", key))
		}
	}
	if complaints == nil {
		return ""
	}
	return few(complaints)
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// informer is client-go's, through a door, with what its handlers were told.
type informer struct {
	kind   kind
	cache  cache.SharedIndexInformer
	stop   context.CancelFunc
	mu     sync.Mutex
	latest state
	wrong  []string
	told   int
}

// watchKinds starts an informer for each kind.
func watchKinds(ctx context.Context, d *door, of []kind) []*informer {
	var all []*informer
	for _, k := range of {
		ctx, cancel := context.WithCancel(ctx)
		i := &informer{kind: k, stop: cancel, latest: state{}}
		i.cache = dynamicinformer.NewFilteredDynamicInformer(d.json, k.gvr, "", 0, cache.Indexers{}, nil).Informer()
		_, err := i.cache.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { i.heard("added", o) },
			UpdateFunc: func(_, o any) { i.heard("updated", o) },
			DeleteFunc: func(o any) { i.heard("deleted", o) },
		})
		if err != nil {
			stop("informer of %s: %v", k.plural, err)
		}
		go i.cache.RunWithContext(ctx)
		all = append(all, i)
	}
	return all
}

// heard notes an event and complains of a version that goes back.
func (i *informer) heard(what string, o any) {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	u := o.(*unstructured.Unstructured)
	key := u.GetNamespace() + "/" + u.GetName()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.told++
	if before := i.latest[key]; before != "" && number(before) > number(u.GetResourceVersion()) {
		i.wrong = append(i.wrong, fmt.Sprintf("%s %s at %s, was told %s before", key, what, u.GetResourceVersion(), before))
	}
	if strings.HasPrefix(u.GetName(), hidden) {
		i.wrong = append(i.wrong, fmt.Sprintf("%s %s: it should be hidden", key, what))
	}
	i.latest[key] = u.GetResourceVersion()
}

// holds is the informer's store.
func (i *informer) holds() state {
	s := state{}
	for _, o := range i.cache.GetStore().List() {
		u := o.(*unstructured.Unstructured)
		s[u.GetNamespace()+"/"+u.GetName()] = u.GetResourceVersion()
	}
	return s
}

// agree complains unless every informer has synced and holds what the server has.
func agree(ctx context.Context, c *cloud, all []*informer) string {
	for _, i := range all {
		if !i.cache.HasSynced() {
			return i.kind.plural + ": the informer has not synced"
		}
		server, _, a := c.direct.list(ctx, i.kind.all())
		if server == nil {
			return a.String()
		}
		if why := i.holds().differs(server.visible()); why != "" {
			return i.kind.plural + ": " + why
		}
	}
	return ""
}

// well complains of what informers were told that they should not have been.
func well(all []*informer) string {
	var complaints []string
	for _, i := range all {
		i.mu.Lock()
		for _, wrong := range i.wrong {
			complaints = append(complaints, i.kind.plural+": "+wrong)
		}
		i.mu.Unlock()
	}
	if complaints == nil {
		return ""
	}
	return few(complaints)
}
