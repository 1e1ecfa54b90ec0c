// What the server knows of the scenario's node and of the pods on it.
package main

import (
	"encoding/json"
	"fmt"
)

// container is what the server knows of the pod's only container.
type container struct {
	id, started string
	restarts    int
}

// farm is the scenario's node and what is asked of it.
type farm struct {
	*scene
	*node
}

// withWords adds the node's own last words to a complaint.
func (f *farm) withWords(why string) string {
	if why == "" {
		return ""
	}
	return why + "\n" + f.node.lastWords()
}

// ask reads an object of the server's into `into`.
func (f *farm) ask(target string, into any) string {
	a := f.server.get(f.ctx, target)
	if a.err != nil || a.status != 200 {
		return a.String()
	}
	return whyNot(json.Unmarshal(a.body, into))
}

// condition is the node's Ready condition.
type condition struct{ Type, Status, Message, LastHeartbeatTime string }

func (f *farm) condition() (of condition, why string) {
	var node struct {
		Status struct{ Conditions []condition }
	}
	why = f.ask("/api/v1/nodes/"+nodeName, &node)
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" {
			of = c
		}
	}
	return of, why
}

func (f *farm) ready() string {
	c, why := f.condition()
	if why == "" && c.Status != "True" {
		why = fmt.Sprintf("condition %v", c)
	}
	return why
}

// beat is when the node last said that it is Ready.
func (f *farm) beat() string {
	c, _ := f.condition()
	return c.LastHeartbeatTime
}

// renewed is when the node last renewed its lease.
func (f *farm) renewed() string {
	var lease struct{ Spec struct{ RenewTime string } }
	if why := f.ask("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+nodeName, &lease); why != "" {
		return ""
	}
	return lease.Spec.RenewTime
}

func (f *farm) newer(than string) string {
	if now := f.renewed(); now <= than {
		return fmt.Sprintf("renewed at %q, before at %q", now, than)
	}
	return ""
}

// look reads a pod: its phase, whether it is ready, and its container.
func (f *farm) look(name string) (phase string, ready bool, c container, why string) {
	var pod struct {
		Status struct {
			Phase             string
			ContainerStatuses []struct {
				Ready        bool
				RestartCount int
				ContainerID  string
				State        struct{ Running struct{ StartedAt string } }
			}
		}
	}
	if why := f.ask("/api/v1/namespaces/"+kubeletHome+"/pods/"+name, &pod); why != "" {
		return "", false, c, why
	}
	for _, s := range pod.Status.ContainerStatuses {
		ready, c = s.Ready, container{s.ContainerID, s.State.Running.StartedAt, s.RestartCount}
	}
	return pod.Status.Phase, ready, c, ""
}

func (f *farm) running(name string) string {
	phase, ready, c, why := f.look(name)
	if why == "" && (phase != "Running" || !ready) {
		why = fmt.Sprintf("pod %s is %s, ready: %v, %v", name, phase, ready, c)
	}
	return why
}

func (f *farm) container(name string) container {
	_, _, c, _ := f.look(name)
	return c
}

func (f *farm) gone(name string) string {
	if a := f.server.get(f.ctx, "/api/v1/namespaces/"+kubeletHome+"/pods/"+name); a.status != 404 {
		return a.String()
	}
	return ""
}
