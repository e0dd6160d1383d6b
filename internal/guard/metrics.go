package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postvagt/internal/deliver"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
	"postvagt/internal/smtpin"
)

// metrics are the guard's figures for Prometheus. No label holds an address or anything else of a message's.
type metrics struct {
	registry   *prometheus.Registry
	guard      *Guard
	messages   *prometheus.CounterVec
	verdicts   *prometheus.CounterVec
	findings   *prometheus.CounterVec
	attempts   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	fenced     prometheus.Counter
	pruned     *prometheus.CounterVec
	acceptTime prometheus.Histogram

	beatFailures, reapedNodes, reapedDeliveries prometheus.Counter // several nodes only
}

func newMetrics(r *prometheus.Registry, g *Guard) *metrics {
	m := &metrics{registry: r, guard: g,
		messages:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_messages_accepted_total", Help: "Messages accepted, by authority and direction."}, []string{"authority", "direction"}),
		verdicts:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_verdicts_total", Help: "Verdicts given, by action and reason."}, []string{"action", "reason"}),
		findings:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_findings_total", Help: "Findings in accepted messages, by kind and place."}, []string{"kind", "place"}),
		attempts:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_attempts_total", Help: "Attempts per recipient, by kind of message, outcome and level reached."}, []string{"kind", "outcome", "level"}),
		refused:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_refused_total", Help: "Logins, commands and messages refused by the guard's rules, by reply. What the SMTP server refuses by itself is not among them."}, []string{"code", "enhanced"}),
		fenced:     prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_outcomes_fenced_total", Help: "Outcomes of attempts that had been taken back before they could be recorded. Their deliveries are marked."}),
		pruned:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_pruned_messages_total", Help: "Messages that retention took something from, by stage: details, rows."}, []string{"stage"}),
		acceptTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "postvagt_accept_seconds", Help: "From the end of data to the reply: inspect, decide, store.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
	}
	m.begin()
	r.MustRegister(m.messages, m.verdicts, m.findings, m.attempts, m.refused, m.fenced, m.pruned, m.acceptTime, sumsCollector{g})
	if g.heart != nil {
		m.beatFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_node_beat_failures_total", Help: "Beats of this node that the ledger did not take."})
		m.reapedNodes = prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_nodes_reaped_total", Help: "Dead nodes whose work this node has given back."})
		m.reapedDeliveries = prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_deliveries_reaped_total", Help: "Deliveries that were taken back from dead nodes, and marked."})
		r.MustRegister(m.beatFailures, m.reapedNodes, m.reapedDeliveries, heartCollector{g.heart})
	}
	return m
}

// begin puts every pair of labels that is known at 0. A counter that is not there until it first counts cannot show silence, and its first
// step is not seen by rate().
func (m *metrics) begin() {
	for _, a := range m.guard.cfg.Authorities {
		for _, d := range []policy.Direction{policy.Outbound, policy.Inbound} {
			m.messages.WithLabelValues(a.Name, string(d))
		}
	}
	for _, action := range []policy.Action{policy.Send, policy.Repair, policy.Hold, policy.Return} {
		for _, reason := range []policy.Reason{policy.Clean, policy.ClassAllows, policy.InsideRecipient, policy.ReadableNumber, policy.CannotRepair,
			policy.NumberAddress, policy.NotInspected, policy.OwnRule, policy.Loop} {
			m.verdicts.WithLabelValues(string(action), string(reason))
		}
	}
	for _, kind := range []detect.Kind{detect.CPR, detect.Uninspected} {
		for _, place := range []detect.PlaceKind{detect.InHeader, detect.InPartHeader, detect.InFileName, detect.InText, detect.InHidden, detect.InAttachment, detect.InEnvelope} {
			m.findings.WithLabelValues(string(kind), string(place))
		}
	}
	for _, kind := range []ledger.Kind{ledger.Mail, ledger.Notice} {
		for _, outcome := range []deliver.Outcome{deliver.Delivered, deliver.Deferred, deliver.Refused, deliver.TooLow, deliver.Unknown, unreadable} {
			for l := level.None; l <= level.EndToEnd; l++ {
				m.attempts.WithLabelValues(string(kind), string(outcome), l.String())
			}
		}
	}
	for code, enhanced := range map[int][]string{450: {"4.7.1"}, 451: {"4.3.0"}, 452: {"4.5.3"}, 535: {"5.7.8"}, 550: {"5.1.1", "5.7.1"}, 553: {"5.7.1"}} {
		for _, e := range enhanced {
			m.refused.WithLabelValues(strconv.Itoa(code), e)
		}
	}
	for _, stage := range ledger.Stages {
		m.pruned.WithLabelValues(string(stage))
	}
}

// heartCollector tells at each scrape how this node stands among the nodes.
type heartCollector struct{ h *heart }

var (
	nodesDesc   = prometheus.NewDesc("postvagt_nodes", "Nodes at work over this ledger, as of this node's last beat.", nil, nil)
	beatAgeDesc = prometheus.NewDesc("postvagt_node_beat_age_seconds", "Time since this node's last beat. It sends nothing beyond 8.", nil, nil)
	skewDesc    = prometheus.NewDesc("postvagt_node_clock_ahead_seconds", "How far this node's clock is ahead of the ledger's.", nil, nil)
)

func (c heartCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodesDesc, beatAgeDesc, skewDesc} {
		ch <- d
	}
}

func (c heartCollector) Collect(ch chan<- prometheus.Metric) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.h.last.IsZero() {
		return
	}
	ch <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(c.h.alive.Nodes))
	ch <- prometheus.MustNewConstMetric(beatAgeDesc, prometheus.GaugeValue, since(c.h.last, now()).Seconds())
	ch <- prometheus.MustNewConstMetric(skewDesc, prometheus.GaugeValue, c.h.apart().Seconds())
}

// refusal counts a reply by which the guard refuses something in the conversation.
func (m *metrics) refusal(r *smtpin.Reply) {
	m.refused.WithLabelValues(strconv.Itoa(r.Code), r.Enhanced).Inc()
}

func (m *metrics) accepted(w *incoming, took time.Duration) {
	m.messages.WithLabelValues(w.authority.Name, string(w.direction)).Inc()
	for _, v := range w.verdicts {
		m.verdicts.WithLabelValues(string(v.Action), string(v.Reason)).Inc()
	}
	for _, f := range w.report.Findings {
		m.findings.WithLabelValues(string(f.Kind), string(f.Place.Kind)).Inc()
	}
	m.acceptTime.Observe(took.Seconds())
}

func (m *metrics) attempted(c ledger.Claimed, receipt deliver.Receipt, results []deliver.Result) {
	for _, r := range results {
		m.attempts.WithLabelValues(string(c.Message.Kind), string(r.Outcome), receipt.Level.String()).Inc()
	}
}

// sumsCollector reads the ledger's sums at each scrape: they are measured, not remembered (law 8).
type sumsCollector struct{ g *Guard }

var (
	deliveriesDesc  = prometheus.NewDesc("postvagt_deliveries", "Deliveries by authority and state, notices included. Without an authority: of those that have left the configuration.", []string{"authority", "state"}, nil)
	unaccountedDesc = prometheus.NewDesc("postvagt_unaccounted", "Deliveries that are neither open nor final. Anything but 0 is an alarm.", nil, nil)
	alarmsDesc      = prometheus.NewDesc("postvagt_alarms", "Notices that reached nobody and that nobody has taken, by authority. Anything but 0 is an alarm.", []string{"authority"}, nil)
	keysDesc        = prometheus.NewDesc("postvagt_keys_usable", "1 while the authority's key file can be used; at 0 its mail is neither taken nor delivered.", []string{"authority"}, nil)
	ledgerUpDesc    = prometheus.NewDesc("postvagt_ledger_up", "1 when the ledger answered this scrape.", nil, nil)
)

func (c sumsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{deliveriesDesc, unaccountedDesc, alarmsDesc, keysDesc, ledgerUpDesc} {
		ch <- d
	}
}

func (c sumsCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	whole, parts, err := c.sums(ctx)
	if err != nil {
		ch <- prometheus.MustNewConstMetric(ledgerUpDesc, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(ledgerUpDesc, prometheus.GaugeValue, 1)
	ch <- prometheus.MustNewConstMetric(unaccountedDesc, prometheus.GaugeValue, float64(whole.Unaccounted))
	for name, s := range parts {
		for _, state := range ledger.States {
			ch <- prometheus.MustNewConstMetric(deliveriesDesc, prometheus.GaugeValue, float64(s.States[state]), name, string(state))
		}
		ch <- prometheus.MustNewConstMetric(alarmsDesc, prometheus.GaugeValue, float64(s.Alarms), name)
	}
	for _, a := range c.g.cfg.Authorities {
		usable := 1.0
		if c.g.teller.stuck(a.Name) != nil {
			usable = 0
		}
		ch <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, usable, a.Name)
	}
}

// sums are those of the whole ledger and of each authority; under "" what is left over, where an authority has left the configuration
// and its mail has not all been forgotten. A ledger that cannot answer for one authority has all under "".
func (c sumsCollector) sums(ctx context.Context) (whole ledger.Sums, parts map[string]ledger.Sums, err error) {
	if whole, err = c.g.store.Sums(ctx); err != nil {
		return whole, nil, err
	}
	parts = map[string]ledger.Sums{}
	rest := ledger.Sums{States: maps.Clone(whole.States), Alarms: whole.Alarms}
	left := whole.Accepted
	for _, a := range c.g.cfg.Authorities {
		s, err := ledger.Scoped(c.g.store, a.Name).Sums(ctx)
		if errors.Is(err, ledger.ErrWhole) {
			continue
		}
		if err != nil {
			return whole, nil, err
		}
		parts[a.Name] = s
		left, rest.Alarms = left-s.Accepted, rest.Alarms-s.Alarms
		for state, n := range s.States {
			rest.States[state] -= n
		}
	}
	if left > 0 {
		for state, n := range rest.States { // what was accepted between the questions
			rest.States[state] = max(n, 0)
		}
		rest.Alarms = max(rest.Alarms, 0)
		parts[""] = rest
	}
	return whole, parts, nil
}

// serve answers /metrics, /healthz and /readyz until ctx ends.
func (m *metrics) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, stop := context.WithTimeout(r.Context(), 3*time.Second)
		defer stop()
		if _, err := m.guard.store.Sums(ctx); err != nil {
			http.Error(w, "the ledger does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		if err := m.guard.heart.unready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return serveHTTP(ctx, l, mux)
}
