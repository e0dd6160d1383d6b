package offload

import (
	"context"
	"crypto/rand"
	"testing"

	"postvagt/internal/bucket"
	"postvagt/internal/bucket/buckettest"
	"postvagt/internal/ledger"
)

// BenchmarkAccept: what a body of 48 KiB costs an acceptance, in the ledger and in an object store on this machine, with 16 callers to each processor.
func BenchmarkAccept(b *testing.B) {
	server := buckettest.Start(b)
	objects, err := bucket.Open(server.Options)
	if err != nil {
		b.Fatal(err)
	}
	for name, o := range map[string]Options{"ledger": {}, "store": {Bucket: objects, Write: true}} {
		b.Run(name, func(b *testing.B) {
			s := closedStage(b)
			s.open(b, nil, o)
			if o.Write { // each ledger a prefix of its own
				at := server.Options
				at.Prefix = string(ledger.NewMessageID())
				if objects, err = bucket.Open(at); err != nil {
					b.Fatal(err)
				}
				s.bucket = objects
			}
			body := make([]byte, 48<<10)
			rand.Read(body)
			b.SetParallelism(16) // times GOMAXPROCS
			b.SetBytes(int64(len(body)))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					a := s.mail(b)
					a.Bodies, a.Deliveries = [][]byte{append([]byte{1}, body...)}, a.Deliveries[:1]
					if _, err := s.Accept(context.Background(), a); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
