package fanout

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ongair/ongair-gateway/server/event"
)

// Bounds of pages.
const (
	// pageEvents is the number of events of a page. A page with large events ends early. It ends
	// at segmentBytes, but has at least one event.
	pageEvents = 512
	// pagesAhead is how many pages are read ahead. So the next page is already in the cache when
	// a single reader needs it, while JetStream reads a later one.
	pagesAhead = 3
	// pageTimeout bounds the reading of a page. It usually takes milliseconds.
	pageTimeout = 10 * time.Second
	// DefaultPageBytes is the default size of the cache: as large as the ring.
	DefaultPageBytes = DefaultRingBytes
)

// pages is a cache of the log behind the ring. Each page is read once for all readers. Pages
// begin at multiples of pageEvents, independent of the positions of readers, so that readers can
// share them. If a page ends early, because of its bytes or at the end of the log, the next one
// continues there. The least recently used pages are evicted first.
//
// A page in the cache may contain events that retention has since removed from the log.
type pages struct {
	log      Log
	maxBytes int
	// behind reports whether a reader at a position still needs pages.
	behind  func(position uint64) bool
	reading singleflight.Group

	mu sync.Mutex
	// clears is how often the cache was cleared.
	clears int
	bytes  int
	recent *list.List // of *page, the most recently used first
	byFrom map[uint64]*list.Element
}

// page holds the events after from, up to and including to.
type page struct {
	from, to uint64
	events   event.Segment
}

// border returns the position at which the page ends if it does not end early.
func (p *page) border() uint64 { return p.from - p.from%pageEvents + pageEvents }

func newPages(log Log, maxBytes int, behind func(position uint64) bool) *pages {
	return &pages{log: log, maxBytes: maxBytes, behind: behind, recent: list.New(), byFrom: map[uint64]*list.Element{}}
}

// after returns events that come after a position, at most those of one page. If the log has
// none, it returns none.
func (p *pages) after(ctx context.Context, position uint64) (event.Segment, error) {
	for from := position - position%pageEvents; ; {
		found, err := p.page(ctx, from)
		if err != nil && from < position {
			// Retention may have removed the first events of the page, but not those after the
			// position.
			return p.log.Read(ctx, position, pageEvents, segmentBytes)
		}
		if err != nil || found.events.Len() == 0 {
			return event.Segment{}, err
		}
		p.readAhead(ctx, found)
		if found.to > position {
			return found.events.After(position), nil
		}
		from = found.to
	}
}

// readAhead starts to read the pages that follow the given page, without waiting for them.
func (p *pages) readAhead(ctx context.Context, used *page) {
	if used.to != used.border() {
		return
	}
	for next := range uint64(pagesAhead) {
		if from := used.to + next*pageEvents; p.behind(from) && p.cached(from) == nil {
			p.begin(ctx, from)
		}
	}
}

// page returns the page with the events after position from. If another reader is already reading
// that page, page waits for the result.
func (p *pages) page(ctx context.Context, from uint64) (*page, error) {
	if found := p.cached(from); found != nil {
		return found, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-p.begin(ctx, from):
		found, _ := r.Val.(*page)
		return found, r.Err
	}
}

// begin starts to read a page, unless another call is already reading it.
func (p *pages) begin(ctx context.Context, from uint64) <-chan singleflight.Result {
	p.mu.Lock()
	clears := p.clears
	p.mu.Unlock()
	return p.reading.DoChan(fmt.Sprint(from, " ", clears), func() (any, error) {
		if found := p.cached(from); found != nil {
			return found, nil // another reader has just read it
		}
		// All waiting readers get this page. So the reading continues even if the stream of the
		// reader that started it ends.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pageTimeout)
		defer cancel()
		return p.read(ctx, from, clears)
	})
}

func (p *pages) read(ctx context.Context, from uint64, clears int) (*page, error) {
	read := &page{from: from, to: from}
	var err error
	if read.events, err = p.log.Read(ctx, from, int(read.border()-from), segmentBytes); err != nil {
		return nil, err
	}
	if read.events.Len() > 0 {
		read.to = read.events.Last()
	}
	if read.events.Len() > 0 {
		p.keep(read, clears)
	}
	return read, nil
}

// clear removes all pages, also those that are being read.
func (p *pages) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clears++
	p.bytes = 0
	p.recent.Init()
	clear(p.byFrom)
}

func (p *pages) cached(from uint64) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	element, ok := p.byFrom[from]
	if !ok {
		return nil
	}
	p.recent.MoveToFront(element)
	return element.Value.(*page)
}

// keep keeps a page that was read after so many clears.
func (p *pages) keep(read *page, clears int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.byFrom[read.from]; ok || p.clears != clears {
		return
	}
	p.byFrom[read.from] = p.recent.PushFront(read)
	p.bytes += read.events.Memory()
	for p.bytes > p.maxBytes && p.recent.Len() > 1 {
		oldest := p.recent.Remove(p.recent.Back()).(*page)
		delete(p.byFrom, oldest.from)
		p.bytes -= oldest.events.Memory()
	}
}
