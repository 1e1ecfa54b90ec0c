// Informers as controllers make them: by client-go's factories of the dynamic client and of the metadata client, of built-in
// kinds and of custom resources.
package main

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// client is one of client-go's clients that know no types.
type client struct {
	name   string
	inform func(ctx context.Context, d *door, k kind, namespace string) cache.SharedIndexInformer
	list   func(ctx context.Context, d *door, k kind, namespace string) (listing, error)
	get    func(ctx context.Context, d *door, k kind, namespace, name string) (object, error)
}

var untyped = []client{
	{"dynamic client",
		func(ctx context.Context, d *door, k kind, namespace string) cache.SharedIndexInformer {
			factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(d.json, 0, namespace, nil)
			return factory.ForResource(k.gvr).Informer()
		},
		func(ctx context.Context, d *door, k kind, namespace string) (listing, error) {
			list, err := d.json.Resource(k.gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return listing{}, err
			}
			return versioned(k, list.Items, list.GetResourceVersion())
		},
		func(ctx context.Context, d *door, k kind, namespace, name string) (object, error) {
			return single(d.json.Resource(k.gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{}))
		}},
	{"metadata client",
		func(ctx context.Context, d *door, k kind, namespace string) cache.SharedIndexInformer {
			factory := metadatainformer.NewFilteredSharedInformerFactory(d.meta, 0, namespace, nil)
			return factory.ForResource(k.gvr).Informer()
		},
		func(ctx context.Context, d *door, k kind, namespace string) (listing, error) {
			list, err := d.meta.Resource(k.gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return listing{}, err
			}
			return versioned(k, list.Items, list.GetResourceVersion())
		},
		func(ctx context.Context, d *door, k kind, namespace, name string) (object, error) {
			return single(d.meta.Resource(k.gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{}))
		}},
}

// informAs starts an informer by the client's factory.
func informAs(ctx context.Context, c client, d *door, k kind, namespace string) *informer {
	i := &informer{kind: k, lane: lane{name: c.name}, apart: true, SharedIndexInformer: c.inform(ctx, d, k, namespace)}
	i.listen()
	go i.RunWithContext(ctx)
	return i
}

// versioned makes a listing of a client's list.
func versioned[T any, P interface {
	*T
	runtime.Object
}](k kind, items []T, version string) (listing, error) {
	objects := make([]P, len(items))
	for n := range items {
		objects[n] = &items[n]
	}
	l := held(k.plural, objects)
	var err error
	if l.version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return l, fmt.Errorf("a list of %s has the version %q", k.plural, version)
	}
	return l, nil
}

func single[P any](o P, err error) (object, error) {
	if err != nil {
		return object{}, err
	}
	_, plain, err := plainObject(o)
	return plain, err
}
