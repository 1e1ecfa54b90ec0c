// A list as a set of objects, from a raw answer or from a store, and how two of them differ.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// listing is what a collection held at a version: each object by its key, in one form whatever it came from.
type listing struct {
	version uint64
	objects map[string]object
}

// object is one object's version and its whole content with the keys in order, without kind and apiVersion (lists leave them out).
type object struct {
	version uint64
	content string
}

// plain gives the one form of an object's JSON.
func plain(text []byte) (key string, o object, err error) {
	var content map[string]any
	if err := json.Unmarshal(text, &content); err != nil {
		return "", o, err
	}
	return plainMap(content)
}

func plainMap(content map[string]any) (key string, o object, err error) {
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	version, _ := metadata["resourceVersion"].(string)
	delete(content, "kind")
	delete(content, "apiVersion")
	delete(metadata, "creationTimestamp") // null in one encoding, absent in another; and it never changes
	if o.version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return "", o, fmt.Errorf("object %q in %q: %w", name, namespace, err)
	}
	if name == "" {
		return "", o, fmt.Errorf("an object without a name: %v", content)
	}
	text, err := json.Marshal(content)
	o.content = string(text)
	return namespace + "/" + name, o, err
}

// plainObject does the same for an object in memory.
func plainObject(o any) (string, object, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return "", object{}, err
	}
	return plain(text)
}

// listing reads a 200 answer that is a whole list, and complains of anything else.
func (a answer) listing() (listing, error) {
	l, next, err := a.page()
	if err == nil && next != "" {
		return l, fmt.Errorf("a page instead of a whole list: %s", a)
	}
	return l, err
}

// page reads a 200 answer that is a list or a page of one.
func (a answer) page() (l listing, next string, err error) {
	var list struct {
		Kind     string
		Metadata struct {
			ResourceVersion string
			Continue        string
		}
		Items []map[string]any
	}
	if a.err != nil || a.status != 200 {
		return l, "", fmt.Errorf("%s", a)
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return l, "", fmt.Errorf("%s: %w", a, err)
	}
	if !strings.HasSuffix(list.Kind, "List") {
		return l, "", fmt.Errorf("not a list: %s", a)
	}
	version, err := strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
	if err != nil || version == 0 {
		return l, "", fmt.Errorf("list version %q: %s", list.Metadata.ResourceVersion, a)
	}
	l = listing{version, make(map[string]object, len(list.Items))}
	for _, item := range list.Items {
		key, o, err := plainMap(item)
		if err != nil {
			return l, "", fmt.Errorf("%s: %w", a.asked, err)
		}
		if _, twice := l.objects[key]; twice {
			return l, "", fmt.Errorf("%s: %s is in the list twice", a.asked, key)
		}
		l.objects[key] = o
	}
	return l, url.QueryEscape(list.Metadata.Continue), nil
}

// list asks for a whole list.
func (d *door) list(ctx context.Context, target string) (listing, error) {
	return d.get(ctx, target).listing()
}

// mustList is for the server, which has no reason to fail.
func (d *door) mustList(ctx context.Context, target string) listing {
	l, err := d.list(ctx, target)
	if err != nil {
		stop("list of the %s: %v", d.name, err)
	}
	return l
}

// mustListProto is the same through the typed protobuf client.
func (d *door) mustListProto(ctx context.Context, k kind) listing {
	list, err := protoList(ctx, d, k, "", metav1.ListOptions{})
	if err != nil {
		stop("protobuf list of %s of the %s: %v", k.plural, d.name, err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		stop("protobuf list of %s: %v", k.plural, err)
	}
	return held(k.plural, items)
}

// held makes a listing of objects in memory.
func held[T runtime.Object](what string, items []T) listing {
	l := listing{objects: make(map[string]object, len(items))}
	for _, item := range items {
		key, o, err := plainObject(item)
		if err != nil {
			stop("%s: %v", what, err)
		}
		l.objects[key] = o
	}
	return l
}

// seen is what a client of the agent should see of it.
func (l listing) seen() listing {
	s := listing{l.version, make(map[string]object, len(l.objects))}
	for key, o := range l.objects {
		if !isHidden(key) {
			s.objects[key] = o
		}
	}
	return s
}

// only keeps the objects of a namespace.
func (l listing) only(namespace string) listing {
	s := listing{l.version, map[string]object{}}
	for key, o := range l.objects {
		if strings.HasPrefix(key, namespace+"/") {
			s.objects[key] = o
		}
	}
	return s
}

func isHidden(key string) bool {
	_, name, _ := strings.Cut(key, "/")
	return strings.HasPrefix(name, hidden)
}

// differs says in what `got` is not `want`: objects missing, too many, of another version, of other content.
func differs(want, got listing) string {
	var complaints []string
	for key, w := range want.objects {
		g, ok := got.objects[key]
		switch {
		case !ok:
			complaints = append(complaints, fmt.Sprintf("%s is missing (version %d)", key, w.version))
		case g.version != w.version:
			complaints = append(complaints, fmt.Sprintf("%s is at version %d, expected %d", key, g.version, w.version))
		case g.content != w.content:
			complaints = append(complaints, fmt.Sprintf("%s differs: got %s\nexpected %s", key, g.content, w.content))
		}
	}
	for key, g := range got.objects {
		if _, ok := want.objects[key]; !ok {
			complaints = append(complaints, fmt.Sprintf("%s should not be there (version %d)", key, g.version))
		}
	}
	if len(complaints) == 0 {
		return ""
	}
	sort.Strings(complaints)
	return fmt.Sprintf("%d objects instead of %d, %d of them wrong\n%s", len(got.objects), len(want.objects), len(complaints), few(complaints))
}
