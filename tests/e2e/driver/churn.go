// Changes in the cloud.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// churn creates, changes and deletes objects of every kind, past the agent.
func churn(ctx context.Context, c *cloud, tag string, count int) {
	random := rand.New(rand.NewPCG(1, uint64(len(tag))))
	for n := range count {
		k := kinds[n%len(kinds)]
		slot := random.IntN(8)
		name := fmt.Sprintf("%s-%d", tag, slot)
		if slot >= 6 {
			name = hidden + name
		}
		path := k.in(home) + "/" + name
		switch random.IntN(4) {
		case 0:
			c.direct.send(ctx, "DELETE", path+"?gracePeriodSeconds=0", "", "")
		case 1:
			patch := fmt.Sprintf(`{"metadata":{"labels":{"turn":"%d"}}}`, n)
			c.direct.send(ctx, "PATCH", path, "application/merge-patch+json", patch)
		default:
			body, _ := json.Marshal(k.object(name, n))
			if a := c.direct.send(ctx, "POST", k.in(home), "application/json", string(body)); a.status != 201 {
				patch := fmt.Sprintf(`{"metadata":{"annotations":{"turn":"%d"}}}`, n)
				c.direct.send(ctx, "PATCH", path, "application/merge-patch+json", patch)
			}
		}
	}
}

// create makes one object, past the agent.
func create(ctx context.Context, c *cloud, k kind, namespace, name string, n int) {
	body, _ := json.Marshal(k.object(name, n))
	if a := c.direct.send(ctx, "POST", k.in(namespace), "application/json", string(body)); a.status != 201 && a.status != 409 {
		stop("%s", a)
	}
}
