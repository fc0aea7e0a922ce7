package api

import (
	"cmp"
	"context"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

const (
	// defaultPageSize is the page_size of a request that has none.
	defaultPageSize = 100
	// maxPageBytes bounds the events of a page, well below the 4 MiB that gRPC
	// clients accept by default.
	maxPageBytes = 1 << 20
	// maxScan bounds how long the log is read for a page. After it the page is returned as it
	// is, and the next page continues at its cursor.
	maxScan = 5 * time.Second
)

// ListEvents returns a page of events.
func (s *Service) ListEvents(ctx context.Context, req *ongairv1.ListEventsRequest) (*ongairv1.ListEventsResponse, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader, end, err := s.read(ctx, &subscription{cancel: cancel}, subscriptionOf(req))
	if err != nil {
		return nil, err
	}
	defer end()
	defer context.AfterFunc(s.draining, reader.Hurry)()
	wait := req.GetWait().AsDuration()
	scan := max(wait, maxScan)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		scan = min(scan, left-AnswerTime(left))
		wait = min(wait, scan)
	}
	page := &event.Page{MaxEvents: cmp.Or(int(req.GetPageSize()), defaultPageSize), MaxBytes: maxPageBytes}
	encoded, err := reader.List(page, wait, scan)
	if err != nil {
		return nil, err
	}
	// The events are encoded already. As unknown fields they are copied as they are.
	response := &ongairv1.ListEventsResponse{}
	response.ProtoReflect().SetUnknown(encoded.Buffers().Materialize())
	return response, nil
}

// subscriptionOf returns a subscription with the filters and the start of req.
func subscriptionOf(req *ongairv1.ListEventsRequest) *ongairv1.SubscribeRequest {
	sub := filtersOf(req)
	sub.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
	switch start := req.GetStart().(type) {
	case *ongairv1.ListEventsRequest_Cursor:
		sub.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: start.Cursor}
	case *ongairv1.ListEventsRequest_StartTime:
		sub.Start = &ongairv1.SubscribeRequest_StartTime{StartTime: start.StartTime}
	case *ongairv1.ListEventsRequest_Position:
		if start.Position == ongairv1.Position_POSITION_LATEST {
			sub.Start = &ongairv1.SubscribeRequest_Position{Position: start.Position}
		}
	}
	return sub
}
