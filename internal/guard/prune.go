package guard

import (
	"context"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/ledger"
)

const (
	pruneTime  = 10 * time.Minute // between rounds
	pruneBatch = 100              // messages in one transaction
	pruneRest  = 20 * time.Millisecond
)

// prune removes what an authority's retention no longer allows, a little at a time, for the mail goes before it. One node does it for all.
func (g *Guard) prune(ctx context.Context) {
	p, ok := g.store.(ledger.Pruner)
	if !ok {
		return
	}
	every(ctx, pruneTime, func() {
		for i := range g.cfg.Authorities {
			if a := &g.cfg.Authorities[i]; len(a.Retention) > 0 {
				g.pruneAuthority(ctx, p, a)
			}
		}
	})
}

// pruneAuthority goes on until there is no more, or until the duty is another's.
func (g *Guard) pruneAuthority(ctx context.Context, p ledger.Pruner, a *config.Authority) {
	var sum ledger.Pruned
	for more := true; more && g.heart.has(ctx, "prune"); {
		n, err := p.Prune(ctx, g.heart.ledgerTime(), a.Name, a.Retention, pruneBatch)
		if err != nil {
			if ctx.Err() == nil {
				g.log.Error("retention could not go on; it is tried again", "authority", a.Name, "err", err)
			}
			break
		}
		sum.Details, sum.Rows, more = sum.Details+n.Details, sum.Rows+n.Rows, n.More
		g.metrics.pruned.WithLabelValues(string(ledger.Details)).Add(float64(n.Details))
		g.metrics.pruned.WithLabelValues(string(ledger.Rows)).Add(float64(n.Rows))
		if n.Details+n.Rows > 0 {
			g.happened()
		}
		select {
		case <-ctx.Done():
			more = false
		case <-time.After(pruneRest):
		}
	}
	if sum.Details+sum.Rows > 0 {
		g.log.Info("retention removed what is no longer kept, with proof in the ledger", "authority", a.Name, "details", sum.Details, "rows", sum.Rows)
	}
}
