// The pods of every kind that a node has, what they print, and what a node's own disk tells of it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tenant is a pod of the scenario's. It prints a line twice a second, with what it was given.
type tenant struct {
	name, uid string // uid: as the server knows it
	folder    string // of its logs on the node's disk: another one is another pod
	given     string // what its lines end with
}

// talking is a container that prints a number and what a command prints.
const talking = `{"name":"main","image":"` + image + `","imagePullPolicy":"Never","command":["/bin/sh","-c",
"n=0; while true; do n=$((n+1)); echo \"line $n $(COMMAND)\"; sleep 0.5; done"]MORE}`

func talks(command, more string) string {
	return strings.NewReplacer("COMMAND", command, "MORE", more).Replace(talking)
}

// always is in the specification of all pods here.
const always = `"nodeName":"` + nodeName + `","terminationGracePeriodSeconds":1,"enableServiceLinks":false`

// tenants are the pods that are placed by their name, by what they print; the Deployment's and the static one come with them.
var tenants = []struct{ name, given, spec string }{
	{"mapped", "from a config map", `"automountServiceAccountToken":false,"containers":[` +
		talks("cat /etc/given/text", `,"volumeMounts":[{"name":"given","mountPath":"/etc/given"}]`) +
		`],"volumes":[{"name":"given","configMap":{"name":"given"}}]`},
	{"secretive", "from-a-secret", `"automountServiceAccountToken":false,"containers":[` +
		talks("echo $WORD", `,"env":[{"name":"WORD","valueFrom":{"secretKeyRef":{"name":"given","key":"word"}}}]`) + `]`},
	{"token", "ey", `"containers":[` + talks("head -c 2 /var/run/secrets/kubernetes.io/serviceaccount/token", "") + `]`},
	{"host", "in the node's network", `"hostNetwork":true,"automountServiceAccountToken":false,"containers":[` +
		serves("8081", "in the node's network") + `]`},
}

// serves is a container that prints as the others do, and answers HTTP at a port.
func serves(port, given string) string {
	return strings.Replace(talks("echo \\\""+given+"\\\"", ""), `"n=0;`, `"mkdir /tmp/www; echo `+port+` > /tmp/www/index.html; httpd -p `+port+` -h /tmp/www; n=0;`, 1)
}

// deployment and services: two pods behind a cluster address, and the pod of the host's network behind another.
var (
	deployment = `{"metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
"spec":{` + always + `,"automountServiceAccountToken":false,"containers":[` + serves("8080", "of a deployment") + `]}}}}`
	addresses = map[string]string{"web": "10.96.0.50", "host": "10.96.0.51"}
	ports     = map[string]string{"web": "8080", "host": "8081"}
	staticPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"static","namespace":"` + kubeletHome + `"},"spec":{"terminationGracePeriodSeconds":1,
"containers":[` + talks("echo static", "") + `]}}`
)

// utterance is one line of a pod's.
type utterance struct {
	at   time.Time
	text string
}

// says is what a pod's containers printed after a moment, in order, from the node's disk.
func (n *node) says(folder string, after time.Time) []utterance {
	var all []utterance
	logs, _ := filepath.Glob(filepath.Join(folder, "*", "*.log"))
	for _, path := range logs {
		if info, err := os.Stat(path); err != nil || info.ModTime().Before(after) {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			stamp, rest, _ := strings.Cut(lines.Text(), " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if text, found := strings.CutPrefix(rest, "stdout F "); err == nil && found && at.After(after) {
				all = append(all, utterance{at, text})
			}
		}
		file.Close()
	}
	slices.SortFunc(all, func(a, b utterance) int { return a.at.Compare(b.at) })
	return all
}

// folders are those that the node's disk has for pods.
func (n *node) folders() []string {
	all, _ := filepath.Glob(filepath.Join(n.dir, "disk/log/pods", kubeletHome+"_*"))
	return all
}

// back waits until every pod that is asked for prints again after a moment, and returns the seconds that each took.
func (n *node) back(pods []tenant, after time.Time, limit time.Duration) (took map[string]float64, why string) {
	took = map[string]float64{}
	why = within(limit, func() string {
		var complaints []string
		for _, t := range pods {
			if took[t.name] != 0 {
				continue
			}
			if lines := n.says(t.folder, after); len(lines) > 0 {
				took[t.name] = lines[0].at.Sub(after).Seconds()
			} else {
				complaints = append(complaints, "pod "+t.name+" does not run")
			}
		}
		return strings.Join(complaints, "; ")
	})
	return took, why
}

// wrong complains of pods that print something else than they were given.
func (n *node) wrong(pods []tenant, after time.Time) string {
	var complaints []string
	for _, t := range pods {
		for _, line := range n.says(t.folder, after) {
			if !strings.HasPrefix(line.text, "line ") || !strings.HasSuffix(line.text, " "+t.given) {
				complaints = append(complaints, fmt.Sprintf("%s prints %q", t.name, line.text))
				break
			}
		}
	}
	return few(complaints)
}
