// The kinds of object used: where they are asked for, and how one is made.
package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

type kind struct {
	plural, word string
	gvr          schema.GroupVersionResource
	namespaced   bool
	example      runtime.Object                            // typed; nil for the custom resource
	typed        func(kubernetes.Interface) rest.Interface // nil for the custom resource
	rest         func(i int) map[string]any                // what an object has beside its metadata
}

func core(c kubernetes.Interface) rest.Interface { return c.CoreV1().RESTClient() }

// kinds are those the informers of a node watch, and a custom resource.
var kinds = []kind{
	{plural: "configmaps", word: "ConfigMap", gvr: v1("configmaps"), namespaced: true, example: &corev1.ConfigMap{}, typed: core,
		rest: func(i int) map[string]any {
			return map[string]any{"data": map[string]any{"text": fmt.Sprintf("<%d> & \"ö\" \\ \n{}[]", i)}}
		}},
	{plural: "pods", word: "Pod", gvr: v1("pods"), namespaced: true, example: &corev1.Pod{}, typed: core,
		rest: func(int) map[string]any {
			container := map[string]any{"name": "one", "image": "registry.local/busybox:1"}
			return map[string]any{"spec": map[string]any{"nodeName": "edge1", "containers": []any{container}}}
		}},
	{plural: "services", word: "Service", gvr: v1("services"), namespaced: true, example: &corev1.Service{}, typed: core,
		rest: func(i int) map[string]any {
			spec := map[string]any{"selector": map[string]any{"app": "one"}, "ports": []any{map[string]any{"port": 80}}}
			if i%2 == 0 {
				spec["clusterIP"] = "None"
			}
			return map[string]any{"spec": spec}
		}},
	{plural: "secrets", word: "Secret", gvr: v1("secrets"), namespaced: true, example: &corev1.Secret{}, typed: core,
		rest: func(int) map[string]any { return map[string]any{"data": map[string]any{"word": "c2VjcmV0"}} }},
	{plural: "nodes", word: "Node", gvr: v1("nodes"), example: &corev1.Node{}, typed: core,
		rest: func(i int) map[string]any {
			return map[string]any{"spec": map[string]any{"podCIDR": fmt.Sprintf("10.%d.%d.0/24", 100+i/200, i%200)}}
		}},
	{plural: "endpointslices", word: "EndpointSlice",
		gvr:        schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
		namespaced: true, example: &discoveryv1.EndpointSlice{},
		typed: func(c kubernetes.Interface) rest.Interface { return c.DiscoveryV1().RESTClient() },
		rest: func(i int) map[string]any {
			endpoint := map[string]any{"addresses": []any{fmt.Sprintf("10.1.2.%d", 1+i%250)}}
			return map[string]any{"addressType": "IPv4", "endpoints": []any{endpoint}, "ports": []any{map[string]any{"port": 80}}}
		}},
	{plural: "widgets", word: "Widget", gvr: schema.GroupVersionResource{Group: "toono.test", Version: "v1", Resource: "widgets"}, namespaced: true,
		rest: func(i int) map[string]any {
			return map[string]any{"spec": map[string]any{"depth": map[string]any{"items": []any{i, nil, true, map[string]any{"metadata": "x"}}}}}
		}},
}

func v1(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: plural}
}

// group is the path of the kind's API group and version.
func (k kind) group() string {
	if k.gvr.Group == "" {
		return "/api/" + k.gvr.Version
	}
	return "/apis/" + k.gvr.Group + "/" + k.gvr.Version
}

// all is the path of all objects of the kind.
func (k kind) all() string { return k.group() + "/" + k.plural }

// in is the path of a namespace's objects (of all objects, when the kind knows no namespaces).
func (k kind) in(namespace string) string {
	if !k.namespaced {
		return k.all()
	}
	return k.group() + "/namespaces/" + namespace + "/" + k.plural
}

// object makes the i-th object of a kind.
func (k kind) object(name string, i int) map[string]any {
	o := k.rest(i)
	version := k.gvr.Version
	if k.gvr.Group != "" {
		version = k.gvr.Group + "/" + version
	}
	o["apiVersion"], o["kind"] = version, k.word
	o["metadata"] = map[string]any{"name": name, "labels": map[string]any{"third": fmt.Sprint(i % 3), "made-by": "e2e"}}
	return o
}
