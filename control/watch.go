package control

import (
	"context"
	"time"

	"godwit/migrate"
)

// patience is how long a migration in doubt is watched. The VM's process goes on
// to ask.
const patience = 10 * time.Second

// Migrate begins a migration and watches it to its end. Cancelling ctx cancels it
// where that is still possible. A migration that stays in doubt is an error, and
// goes on.
func (c *Client) Migrate(ctx context.Context, q *MigrateRequest, show func(*migrate.Event)) (Op, error) {
	var o Op
	if err := c.Post(context.WithoutCancel(ctx), "/v1/migrate", q, &o); err != nil {
		return o, err
	}
	look, leave := context.WithCancel(context.Background())
	defer leave()
	var doubt *time.Timer
	o, err := c.follow(ctx, look, o.ID, func(e Event) {
		ev := e.Op.Event
		if ev == nil || e.final() {
			return
		}
		switch {
		case ev.What != migrate.EventStage:
		case ev.Stage == migrate.StageDoubt:
			doubt = time.AfterFunc(patience, leave)
		case doubt != nil:
			doubt.Stop() // somebody knows
		}
		if show != nil {
			show(ev)
		}
	})
	if look.Err() != nil {
		return o, InDoubt(c.name, q.To)
	}
	return o, err
}
