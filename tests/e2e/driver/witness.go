// The server's own view of a node's pods, from the first to the last: none may be deleted, fail, or be replaced.
package main

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// witness watches the pods of a namespace and notes what must not happen.
type witness struct {
	mu    sync.Mutex
	notes []string
}

func (s *scene) witnessed(namespace string) *witness {
	w := &witness{}
	pods := s.server.proto.CoreV1().Pods(namespace)
	list, err := pods.List(s.ctx, metav1.ListOptions{})
	if err != nil {
		stop("pods: %v", err)
	}
	known := map[string]bool{}
	for _, p := range list.Items {
		known[string(p.UID)] = true
	}
	version := list.ResourceVersion
	go func() {
		for s.ctx.Err() == nil {
			events, err := pods.Watch(s.ctx, metav1.ListOptions{ResourceVersion: version})
			if err != nil {
				time.Sleep(200 * time.Millisecond)
				continue
			}
			for e := range events.ResultChan() {
				p, ok := e.Object.(*corev1.Pod)
				if !ok {
					w.note("the watch was told %v", e.Object)
					break
				}
				version = p.ResourceVersion
				switch {
				case e.Type == "DELETED" || p.DeletionTimestamp != nil:
					w.note("%s pod %s is deleted", time.Now().Format("15:04:05.000"), p.Name)
				case !known[string(p.UID)]:
					w.note("%s pod %s is new", time.Now().Format("15:04:05.000"), p.Name)
				case p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
					w.note("%s pod %s is %s: %s %s", time.Now().Format("15:04:05.000"), p.Name, p.Status.Phase, p.Status.Reason, p.Status.Message)
				}
			}
		}
	}()
	return w
}

func (w *witness) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// saw returns what was noted since the last time.
func (w *witness) saw() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := few(w.notes)
	w.notes = nil
	return said
}
