package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// pagesInFlight is the number of concurrent calls of ListEvents. They share replayConnections
// connections.
const pagesInFlight = 64

// pager reads consecutive pages. It is not safe for concurrent use.
type pager struct {
	conn    *grpc.ClientConn
	request *ongairv1.ListEventsRequest
	// page has the facts of the last page.
	page tally
}

// pagers returns pagesInFlight pagers that start at the oldest event.
func pagers(conns connections, size int) []*pager {
	var all []*pager
	for i := range pagesInFlight {
		all = append(all, &pager{conn: conns[i%len(conns)], request: &ongairv1.ListEventsRequest{PageSize: int32(size)}})
	}
	return all
}

// next reads the next page. It returns an error at the end of the log. A page may be empty before:
// for a time after a start the gateway does not have the newest events.
func (p *pager) next(ctx context.Context) error {
	if err := p.conn.Invoke(ctx, ongairv1.OngairService_ListEvents_FullMethodName, p.request, &p.page); err != nil {
		return err
	}
	if p.page.events == 0 && p.page.pending == 0 {
		return errors.New("unexpected end of the log")
	}
	p.seek(string(p.page.cursor))
	return nil
}

// seek continues from a cursor.
func (p *pager) seek(cursor string) {
	p.request.Start = &ongairv1.ListEventsRequest_Cursor{Cursor: cursor}
}

// listPages compares pages with streams, in events per second. Pages from memory are compared with
// as many streams that read the ring, and pages from the disk with one stream that reads the log.
func listPages(ctx context.Context, w *workbench) ([]trial, error) {
	const baseline = "streams"
	server, err := w.filled(ctx, w.freshGateway)
	if err != nil {
		return nil, err
	}
	dir, err := w.preparedLog(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := w.pageStarts(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("cursors: %w", err)
	}
	var trials []trial
	for _, from := range []struct {
		name    string
		streams func(context.Context) (sample, error)
		pages   func(ctx context.Context, size int) (sample, error)
	}{
		{
			"memory",
			func(ctx context.Context) (sample, error) { return w.replay(ctx, server, pagesInFlight) },
			func(ctx context.Context, size int) (sample, error) { return w.listRing(ctx, server, size) },
		},
		{
			"disk",
			func(ctx context.Context) (sample, error) { return w.replayLog(ctx, dir) },
			func(ctx context.Context, size int) (sample, error) { return w.listLog(ctx, dir, starts, size) },
		},
	} {
		for _, size := range w.pageSizes {
			t := trial{
				name: fmt.Sprintf("L1, pages of %d from %s", size, from.name), unit: "events",
				variants: []variant{
					{baseline, from.streams},
					{gateway, func(ctx context.Context) (sample, error) { return from.pages(ctx, size) }},
				},
			}
			if size == 1000 {
				t.goals = []goal{{metric: rate, against: baseline, compare: ratio, limit: 0.5, text: "≥ 0.5 × events/s"}}
			}
			trials = append(trials, t)
		}
	}
	return trials, nil
}

// listRing reads the pages of the ring repeatedly, until the measured time is over.
func (r *runner) listRing(ctx context.Context, server *process, size int) (sample, error) {
	conns, err := dialGRPC(ctx, server.GRPC, replayConnections)
	if err != nil {
		return nil, err
	}
	defer conns.close()
	var events atomic.Int64
	var calls []func(context.Context) error
	for _, p := range pagers(conns, size) {
		calls = append(calls, func(ctx context.Context) error {
			if err := p.next(ctx); err != nil {
				return err
			}
			events.Add(p.page.events)
			if p.page.pending == 0 {
				p.request.Start = nil // the oldest event
			}
			return nil
		})
	}
	var took []time.Duration
	s, err := r.measure(ctx, server, func(ctx context.Context) (_ float64, err error) {
		timed, cancel := context.WithTimeout(ctx, r.duration)
		defer cancel()
		took, err = repeat(timed, calls)
		return float64(events.Load()), err
	})
	if err != nil {
		return nil, err
	}
	s.latencies(took)
	return s, nil
}

// pageStarts returns pagesInFlight-1 cursors that divide the log into equal shares.
func (r *runner) pageStarts(ctx context.Context, dir string) ([]string, error) {
	ends := map[int]bool{}
	for i := range pagesInFlight {
		ends[r.shareEnd(i)] = true
	}
	return r.cursors(ctx, dir, func(seen int) bool { return ends[seen] })
}

// shareEnd returns the number of events up to the end of a pager's share of the log.
func (r *runner) shareEnd(pager int) int { return (pager + 1) * r.logEvents / pagesInFlight }

// listLog reads the pages of a log from the disk. Each pager reads its share once. It
// returns an error if the shares are not the whole log.
func (r *runner) listLog(ctx context.Context, dir string, starts []string, size int) (_ sample, err error) {
	server, err := r.startGateway(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	conns, err := dialGRPC(ctx, server.GRPC, replayConnections)
	if err != nil {
		return nil, err
	}
	defer conns.close()
	var mu sync.Mutex
	var all []time.Duration
	var empty atomic.Int64
	s, err := r.measure(ctx, server, func(ctx context.Context) (float64, error) {
		group, ctx := errgroup.WithContext(ctx)
		from := 0
		for i, p := range pagers(conns, size) {
			left := r.shareEnd(i) - from
			from = r.shareEnd(i)
			if i > 0 {
				p.seek(starts[i-1])
			}
			group.Go(func() error {
				var took []time.Duration
				for left > 0 {
					p.request.PageSize = int32(min(size, left))
					began := time.Now()
					if err := p.next(ctx); err != nil {
						return err
					}
					took = append(took, time.Since(began))
					left -= int(p.page.events)
					if p.page.events == 0 {
						empty.Add(1)
					}
				}
				if last := i == len(starts); last && p.page.pending != 0 || !last && string(p.page.cursor) != starts[i] {
					return errors.New("a caller's pages do not end where the next caller's begin")
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
				return nil
			})
		}
		return float64(r.logEvents), group.Wait()
	})
	if err != nil {
		return nil, err
	}
	s[emptyPages] = float64(empty.Load())
	s.latencies(all)
	return s, nil
}
