// What is done to the node with its pods: it reboots while cut off, its agent or its kubelet ends, or its agent has forgotten all.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	endpointChain = regexp.MustCompile(`KUBE-SEP-[A-Z0-9]+`)
	podAddress    = regexp.MustCompile(`10\.244\.\d+\.\d+`)
	probability   = regexp.MustCompile(` --probability [0-9.]+`)
)

// programmed is what kube-proxy has made of the services, with the pods' addresses made alike.
func (h *homestead) programmed() (string, string) {
	text, err := tool("nsenter", "--target", fmt.Sprint(h.node.init), "--net", "iptables-save", "-t", "nat")
	if err != nil {
		return "", err.Error()
	}
	var rules []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "-A KUBE-S") {
			line = podAddress.ReplaceAllString(endpointChain.ReplaceAllString(line, "KUBE-SEP-X"), "POD")
			rules = append(rules, probability.ReplaceAllString(line, ""))
		}
	}
	slices.Sort(rules)
	return strings.Join(rules, ""), ""
}

// sameRules complains of rules that are not those from before.
func (h *homestead) sameRules() string {
	now, why := h.programmed()
	if why != "" || now == h.rules {
		return why
	}
	was := strings.SplitAfter(h.rules, "\n")
	is := strings.SplitAfter(now, "\n")
	var complaints []string
	for _, rule := range was {
		if i := slices.Index(is, rule); i >= 0 {
			is = slices.Delete(is, i, i+1)
		} else {
			complaints = append(complaints, "missing: "+rule)
		}
	}
	for _, rule := range is {
		complaints = append(complaints, "new: "+rule)
	}
	return few(complaints)
}

// moving, but for a static pod, are the pods that the server gave.
func moving(pods []tenant) []tenant {
	return slices.DeleteFunc(slices.Clone(pods), func(t tenant) bool { return t.given == "static" })
}

// others asks the kubelet itself, at its read-only port, which pods it has, and looks for more on the disk. What it tells of their
// states is the server's, of before.
func (h *homestead) others() string {
	status, body, err := h.fetch("http://127.0.0.1:10255/pods")
	if err != nil || status != 200 {
		return fmt.Sprintf("%d %v", status, err)
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name, UID string }
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		return err.Error()
	}
	var complaints []string
	for _, p := range list.Items {
		if !slices.ContainsFunc(h.pods, func(t tenant) bool { return t.uid == p.Metadata.UID || strings.HasSuffix(t.folder, "_"+p.Metadata.UID) }) {
			complaints = append(complaints, fmt.Sprintf("pod %s has the uid %s", p.Metadata.Name, p.Metadata.UID))
		}
	}
	if len(list.Items) != len(h.pods) {
		complaints = append(complaints, fmt.Sprintf("%d pods of %d", len(list.Items), len(h.pods)))
	}
	for _, folder := range h.folders() {
		if !slices.ContainsFunc(h.pods, func(t tenant) bool { return t.folder == folder }) {
			complaints = append(complaints, "the disk has a pod more: "+folder)
		}
	}
	return few(complaints)
}

// reboots cuts the line and the power, `gap` after the line or before it, boots while cut off, and brings the line back. Every
// third round the power fails once more while the node boots.
func (h *homestead) reboots(round int, how mode, gap, again time.Duration) {
	when := fmt.Sprintf(" (round %d: %s, power off %.1f s after the cut)", round, how, gap.Seconds())
	if gap < 0 {
		h.powerOff()
		time.Sleep(-gap)
		h.cut(how)
	} else {
		h.cut(how)
		time.Sleep(gap)
		h.powerOff()
	}
	mark := h.heardMark()
	h.powerOn()
	if round%3 == 2 {
		time.Sleep(again)
		h.note("the power fails again %.1f s after the boot", again.Seconds())
		h.powerOff()
		h.powerOn()
	}
	took, why := h.back(h.pods, h.booted, 3*backWait)
	limit := backWait.Seconds() + h.slow(took)
	var all []string
	last := 0.0
	for _, name := range slices.Sorted(maps.Keys(took)) {
		all = append(all, fmt.Sprintf("%s %.1f", name, took[name]))
		last = max(last, took[name])
		if took[name] > limit {
			why += fmt.Sprintf("pod %s only after %.1f s; ", name, took[name])
		}
	}
	h.backs = append(h.backs, last)
	h.note("seconds from the boot to the pod: %s", strings.Join(all, ", "))
	h.check(fmt.Sprintf("every pod is back within %s of the boot", backWait)+when, h.withWords(why))
	h.check("every pod has again what it was given"+when, h.wrong(h.pods, h.booted))
	h.check("the kubelet has the same pods"+when, h.others())
	h.check("the agent tells the node as it was"+when, h.intact(h.door))
	h.check("kube-proxy programs the same services"+when, h.withWords(within(backWait, h.sameRules)))
	h.check("the service host answers while cut off"+when, within(backWait, func() string { return h.answers("host") }))
	h.note("the service web, while cut off: %s", orGood(h.answers("web")))
	mark = h.returns(when, mark)
	h.check("every pod's new state is delivered"+when, h.withWords(within(2*backWait, func() string { return h.allRun(h.booted) })))
	h.served(when, mark)
}

// slow is how many seconds more than it should the machine itself took to boot: until the first pod runs, which commonly is the
// static one, that needs containerd and the kubelet but nobody's answer. On a machine that does nothing else that is one second.
func (h *homestead) slow(took map[string]float64) float64 {
	if len(took) == 0 {
		return 0
	}
	first := slices.Min(slices.Collect(maps.Values(took)))
	over := max(0, first-firstPodWait.Seconds())
	if over > 0 {
		h.note("the machine is slow: its first pod took %.1f s; %.1f s more are given", first, over)
	}
	return over
}

func orGood(why string) string {
	if why == "" {
		return "answers"
	}
	return why
}

// returns sees what the components were told while cut off, waits until the server has given the node up, and brings the line
// back. It returns the tap's mark of that moment.
func (h *homestead) returns(when string, mark int64) int64 {
	h.check("the server gives the node up"+when, within(30*time.Second, h.lost))
	offline := h.heardSince(mark)
	h.note("while cut off: %s", tally(offline))
	h.check("nothing misleads kubelet or kube-proxy while cut off, and no pod fails"+when, misled(offline, len(h.pods)))
	h.check("what they write while cut off is answered as stated"+when, written(offline, h.cutFrom.Add(noticeWait)))
	mark = h.heardMark()
	kubelet, renewed := h.node.pid("kubelet"), h.renewed()
	began := time.Now()
	h.cut(pass)
	why := within(3*readyWait, h.untainted)
	ready := time.Since(began)
	if why == "" && ready > readyWait {
		why = fmt.Sprintf("only after %.1f s", ready.Seconds())
	}
	h.readies = append(h.readies, ready.Seconds())
	h.note("the node is Ready and without taints %.1f s after the line's return", ready.Seconds())
	h.check(fmt.Sprintf("the node is Ready and without taints within %s of the line's return", readyWait)+when, h.withWords(why))
	h.check("the lease is renewed on the return"+when, within(readyWait, func() string { return h.newer(renewed) }))
	why = ""
	if now := h.node.pid("kubelet"); now != kubelet {
		why = fmt.Sprintf("process %d was, %d is", kubelet, now)
	}
	h.check("the kubelet is not started again"+when, why)
	return mark
}

// served: in the end all is as it was, and was never told otherwise since a mark of the tap.
func (h *homestead) served(when string, mark int64) {
	_, why := h.back(h.pods, time.Now(), backWait)
	h.check("every pod goes on on the return"+when, why)
	h.check("nothing misleads kubelet or kube-proxy on the return"+when, misled(h.heardSince(mark), len(h.pods)))
	h.check("no pod was deleted, failed or replaced on the server"+when, h.witness.saw())
	h.check("the node object is as it was"+when, h.intact(h.server))
	h.check("kube-proxy programs the same services on the return"+when, within(2*backWait, h.sameRules))
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		h.check("the service "+name+" answers on the return"+when, within(2*backWait, func() string { return h.answers(name) }))
	}
}

// outlives kills one program of the node's while cut off: no container may notice.
func (h *homestead) outlives(what, program string, how mode) {
	when := fmt.Sprintf(" (%s killed, %s)", what, how)
	before := h.containers()
	h.cut(how)
	time.Sleep(time.Duration(h.writer.dice.IntN(3000)) * time.Millisecond)
	killed := time.Now()
	why := h.node.kill(program)
	mark := h.heardMark()
	h.check(what+" ends and starts again"+when, why)
	_, why = h.back(h.pods, killed.Add(4*time.Second), backWait)
	h.check("every pod goes on"+when, h.withWords(why))
	ended := time.Now()
	if why = h.end(h.container("mapped").id); why == "" {
		why = within(20*time.Second, func() string {
			for _, line := range h.says(h.folder("mapped"), ended) {
				if strings.HasPrefix(line.text, "line 1 ") {
					return ""
				}
			}
			return "pod mapped does not begin again"
		})
	}
	h.check("a container that ends is started again"+when, h.withWords(why))
	h.check("the kubelet has the same pods"+when, h.others())
	h.check("the agent tells the node as it was"+when, h.intact(h.door))
	h.check("kube-proxy keeps the same services"+when, h.sameRules())
	mark = h.returns(when, mark)
	h.check("the container that was started again is delivered"+when, within(2*backWait, func() string {
		if now := h.container("mapped"); now.id == before["mapped"].id || now.started == "" {
			return fmt.Sprintf("%v", now)
		}
		return h.allRun(time.Time{})
	}))
	delete(before, "mapped")
	after := h.containers()
	why = ""
	for name, was := range before {
		if after[name] != was || was.id == "" {
			why += fmt.Sprintf("%s was %v, is %v; ", name, was, after[name])
		}
	}
	h.check("no other container is disturbed"+when, why)
	h.served(when, mark)
}

func (h *homestead) folder(name string) string {
	for _, t := range h.pods {
		if t.name == name {
			return t.folder
		}
	}
	return ""
}

// containers is what the server knows of every pod's.
func (h *homestead) containers() map[string]container {
	all := map[string]container{}
	for _, t := range h.pods {
		all[t.name] = h.container(t.name)
	}
	return all
}

// withoutMirror is the control: the same reboot, the agent having nothing to answer from. Then nothing comes back but the static
// pod, and that only from the kubelet's own disk, until the line returns.
func (h *homestead) withoutMirror(how mode) {
	when := fmt.Sprintf(" (control, without what the agent keeps: %s)", how)
	h.cut(how)
	h.powerOff()
	h.emptied()
	mark := h.heardMark()
	h.powerOn()
	only := slices.DeleteFunc(slices.Clone(h.pods), func(t tenant) bool { return t.given != "static" })
	_, why := h.back(only, h.booted, 3*backWait)
	h.check("the static pod is back"+when, h.withWords(why))
	time.Sleep(time.Until(h.booted.Add(backWait + 2*time.Second)))
	why = ""
	for _, t := range moving(h.pods) {
		if len(h.says(t.folder, h.booted)) > 0 {
			why += "pod " + t.name + " runs; "
		}
	}
	h.check("no other pod is back"+when, why)
	h.check("nobody is told that what is not known is not there"+when, misled(h.heardSince(mark), len(h.pods)))
	h.cut(pass)
	if why = h.node.kill("kubelet"); why == "" { // else it waits for up to 43 s between two attempts
		_, why = h.back(h.pods, h.booted, 60*time.Second)
	}
	h.check("every pod is back once the line is back"+when, h.withWords(why))
	h.check("no pod was deleted, failed or replaced on the server"+when, h.witness.saw())
	slices.Sort(h.backs)
	slices.Sort(h.readies)
	h.note("seconds to the last pod, each boot while cut off: %.1f; to Ready, each return: %.1f", h.backs, h.readies)
}
