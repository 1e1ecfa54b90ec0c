// Real client-go informers through a door, in several lanes: WatchList on and off, JSON and protobuf.
package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// lane is one way a client speaks. client-go's WatchListClient gate is on; a lane without it opts out as client-go lets a
// client do, which leads its reflectors through exactly the code that the gate turned off would.
type lane struct {
	name      string
	watchList bool
	proto     bool // built-in kinds typed and in protobuf, as the kubelet; else everything in JSON
}

var lanes = []lane{
	{"list+watch json", false, false},
	{"watchlist json", true, false},
	{"list+watch protobuf", false, true},
	{"watchlist protobuf", true, true},
}

// listWatch leaves WatchList on.
type listWatch struct{ *cache.ListWatch }

// plainListWatch opts out of WatchList.
type plainListWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what a reflector asks.
func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

// informer is one informer, with what its handlers were told.
type informer struct {
	cache.SharedIndexInformer
	trail
	kind  kind
	lane  lane
	lists atomic.Int64 // requests that asked for the whole collection
	apart bool         // hidden objects are counted here, and not in the trail
	shown atomic.Int64
}

// protoList asks for a list typed and in protobuf.
func protoList(ctx context.Context, d *door, k kind, namespace string, options metav1.ListOptions) (runtime.Object, error) {
	list, err := scheme.Scheme.New(k.gvr.GroupVersion().WithKind(k.word + "List"))
	if err != nil {
		return nil, err
	}
	request := k.typed(d.proto).Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.plural)
	return list, request.VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Into(list)
}

// inform starts an informer of a kind (of those a field selector leaves).
func inform(ctx context.Context, d *door, k kind, l lane, namespace, fieldSelector string) *informer {
	i := &informer{kind: k, lane: l}
	proto := l.proto && k.typed != nil
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			i.lists.Add(1)
			options.FieldSelector = fieldSelector
			if !proto {
				return d.json.Resource(k.gvr).Namespace(namespace).List(ctx, options)
			}
			return protoList(ctx, d, k, namespace, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if options.SendInitialEvents != nil && *options.SendInitialEvents {
				i.lists.Add(1)
			}
			options.FieldSelector, options.Watch = fieldSelector, true
			if !proto {
				return d.json.Resource(k.gvr).Namespace(namespace).Watch(ctx, options)
			}
			request := k.typed(d.proto).Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.plural)
			return request.VersionedParams(&options, scheme.ParameterCodec).Watch(ctx)
		},
	}
	var source cache.ListerWatcher = listWatch{lw}
	if !l.watchList {
		source = plainListWatch{lw}
	}
	example := runtime.Object(&unstructured.Unstructured{})
	if proto {
		example = k.example
	}
	i.SharedIndexInformer = cache.NewSharedIndexInformer(source, example, 0, cache.Indexers{})
	i.listen()
	go i.RunWithContext(ctx)
	return i
}

// listen writes down what the handlers are told after the first fill.
func (i *informer) listen() {
	take := func(what string, o any) {
		key, plain, err := plainObject(o)
		if err != nil {
			i.note("%s: %v", what, err)
			return
		}
		if i.apart && isHidden(key) {
			i.shown.Add(1)
			return
		}
		i.trail.add(step{what, key, plain})
	}
	_, err := i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, first bool) {
			if !first {
				take("ADDED", o)
				return
			}
			if _, plain, err := plainObject(o); err == nil {
				i.mu.Lock()
				i.from, i.newest = max(i.from, plain.version), max(i.newest, plain.version)
				i.mu.Unlock()
			}
		},
		UpdateFunc: func(old, o any) {
			was, is := old.(metav1.Object), o.(metav1.Object)
			if was.GetUID() != is.GetUID() {
				i.note("%s/%s was replaced by another object of its name without a deletion", is.GetNamespace(), is.GetName())
			}
			if was.GetResourceVersion() != is.GetResourceVersion() { // equal after a list made again, which is counted elsewhere
				take("MODIFIED", o)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				i.note("%s was found deleted by a new list, there was no event", gone.Key)
				return
			}
			take("DELETED", o)
		},
	})
	if err != nil {
		stop("informer of %s: %v", i.kind.plural, err)
	}
}

// store is what the informer holds now.
func (i *informer) store() listing {
	var objects []runtime.Object
	for _, o := range i.GetStore().List() {
		objects = append(objects, o.(runtime.Object))
	}
	return held(i.kind.plural, objects)
}

// fleet is an informer of each kind in each lane.
type fleet struct {
	informers []*informer
	stop      context.CancelFunc
}

func startFleet(ctx context.Context, d *door, in []lane) *fleet {
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{stop: cancel}
	for _, l := range in {
		for _, k := range kinds {
			f.informers = append(f.informers, inform(ctx, d, k, l, "", ""))
		}
	}
	return f
}

// synced waits for the first fill of all, while nothing changes on the server: their trails begin there.
func (f *fleet) synced(limit time.Duration) string {
	defer func() {
		for _, i := range f.informers {
			filled, _ := strconv.ParseUint(i.LastSyncResourceVersion(), 10, 64)
			i.mu.Lock()
			i.from, i.newest = max(i.from, filled), max(i.newest, filled)
			i.mu.Unlock()
		}
	}()
	return within(limit, func() string {
		var complaints []string
		for _, i := range f.informers {
			if !i.HasSynced() {
				complaints = append(complaints, fmt.Sprintf("%s of %s has not synced", i.lane.name, i.kind.plural))
			}
		}
		return few(complaints)
	})
}

// lists is how often the informers asked for a whole collection.
func (f *fleet) lists() (n int64) {
	for _, i := range f.informers {
		n += i.lists.Load()
	}
	return n
}

// again complains when more has been asked for since.
func (f *fleet) again(since int64) string {
	if n := f.lists() - since; n > 0 {
		return fmt.Sprintf("informers asked %d times for a whole collection", n)
	}
	return ""
}

// converges checks, lane by lane, that every store comes to equal what the server has.
func (f *fleet) converges(ctx context.Context, r *report, what string, server *door, limit time.Duration) {
	want := map[string]listing{}
	for _, k := range kinds {
		want[k.plural] = server.mustList(ctx, k.all()).seen()
		if k.typed != nil {
			want["proto "+k.plural] = server.mustListProto(ctx, k).seen()
		}
	}
	end := time.Now().Add(limit)
	for _, l := range lanes {
		var complaints []string
		n := 0
		for _, i := range f.informers {
			if i.lane != l {
				continue
			}
			n++
			name := i.kind.plural
			if l.proto && i.kind.typed != nil {
				name = "proto " + name
			}
			if why := within(time.Until(end), func() string { return differs(want[name], i.store()) }); why != "" {
				complaints = append(complaints, i.kind.plural+" "+why)
			}
		}
		if n > 0 {
			r.check(what+", "+l.name, few(complaints))
		}
	}
}
