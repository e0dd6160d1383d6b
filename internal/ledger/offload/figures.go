package offload

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postvagt/internal/bucket"
)

// figures are what an operator sees of the object store.
type figures struct {
	seconds *prometheus.HistogramVec
	bytes   *prometheus.CounterVec
	errors  *prometheus.CounterVec
	removed prometheus.Counter
	orphans prometheus.Counter
}

func newFigures() figures {
	f := figures{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "postvagt_bodies_seconds", Help: "Time that the object store took, tries included, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}, []string{"operation"}),
		bytes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_bodies_bytes_total", Help: "Bytes of bodies put into and got from the object store."}, []string{"operation"}),
		errors:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postvagt_bodies_errors_total", Help: "What the object store failed to do after all tries, by operation; wrong: it returned other bytes than were stored."}, []string{"operation"}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_bodies_removed_total", Help: "Objects removed because nothing refers to them any more."}),
		orphans: prometheus.NewCounter(prometheus.CounterOpts{Name: "postvagt_bodies_orphans_total", Help: "Of the removed objects, those of messages that were never accepted."}),
	}
	for _, operation := range []string{"put", "get", "delete", "list", "wrong"} {
		f.errors.WithLabelValues(operation) // a zero is shown as zero
	}
	return f
}

// Register adds the figures to a guard's. Without an object store there are none.
func (s *Store) Register(r prometheus.Registerer) {
	if f := s.figures; s.bucket != nil {
		r.MustRegister(f.seconds, f.bytes, f.errors, f.removed, f.orphans)
	}
}

// measured is a bucket that keeps figures.
type measured struct {
	bucket.Bucket
	figures figures
}

func (m measured) took(operation string, begun time.Time, size int, err error) {
	m.figures.seconds.WithLabelValues(operation).Observe(time.Since(begun).Seconds())
	switch {
	case err == nil:
		m.figures.bytes.WithLabelValues(operation).Add(float64(size))
	case !errors.Is(err, bucket.ErrNone) && !errors.Is(err, bucket.ErrExists) && !errors.Is(err, context.Canceled):
		m.figures.errors.WithLabelValues(operation).Inc()
	}
}

func (m measured) Put(ctx context.Context, name string, data []byte) error {
	begun := time.Now()
	err := m.Bucket.Put(ctx, name, data)
	m.took("put", begun, len(data), err)
	return err
}

func (m measured) Get(ctx context.Context, name string, most int64) ([]byte, error) {
	begun := time.Now()
	data, err := m.Bucket.Get(ctx, name, most)
	m.took("get", begun, len(data), err)
	return data, err
}

func (m measured) Delete(ctx context.Context, name string) error {
	begun := time.Now()
	err := m.Bucket.Delete(ctx, name)
	m.took("delete", begun, 0, err)
	return err
}

func (m measured) List(ctx context.Context, after string, max int) ([]bucket.Object, error) {
	begun := time.Now()
	objects, err := m.Bucket.List(ctx, after, max)
	m.took("list", begun, 0, err)
	return objects, err
}
