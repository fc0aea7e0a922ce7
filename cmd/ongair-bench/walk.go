package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// Bounds of a batch. They are the same as the gateway's.
const (
	bareBatchEvents = 512
	bareBatchBytes  = 1 << 20
)

// walkFrames sends one event per frame.
func walkFrames(stream grpc.ServerStream, at *link) error {
	for {
		next := at.next.Load()
		if next == nil {
			if err := at.wait(stream.Context()); err != nil {
				return err
			}
			continue
		}
		at = next
		if err := stream.SendMsg(at.frame); err != nil {
			return err
		}
	}
}

// walkBatches sends the backlog of a stream in batches, with one buffer per record.
func walkBatches(stream grpc.ServerStream, at *link) error {
	var batch mem.BufferSlice
	for {
		batch = batch[:0]
		for bytes := 0; len(batch) < bareBatchEvents && bytes < bareBatchBytes; {
			next := at.next.Load()
			if next == nil {
				break
			}
			at = next
			batch = append(batch, at.record)
			bytes += at.record.Len()
		}
		if len(batch) == 0 {
			if err := at.wait(stream.Context()); err != nil {
				return err
			}
			continue
		}
		// The transport keeps the slice until it is written, so batch cannot be passed.
		frame := append(make(mem.BufferSlice, 0, len(batch)+1), batch...)
		if err := stream.SendMsg(append(frame, at.cursor)); err != nil {
			return err
		}
	}
}

// walkRuns sends the backlog of a stream in batches, with one buffer per run of adjoining records.
func walkRuns(stream grpc.ServerStream, at *link) error {
	for {
		frame := make(mem.BufferSlice, 0, 3)
		var first *link // of the run
		for events, bytes := 0, 0; events < bareBatchEvents && bytes < bareBatchBytes; events++ {
			next := at.next.Load()
			if next == nil {
				break
			}
			switch {
			case first == nil:
				first = next
			case !next.adjoins(at):
				frame = append(frame, mem.SliceBuffer(first.chunk[first.start:at.end]))
				first = next
			}
			at = next
			bytes += at.end - at.start
		}
		if first == nil {
			if err := at.wait(stream.Context()); err != nil {
				return err
			}
			continue
		}
		frame = append(frame, mem.SliceBuffer(first.chunk[first.start:at.end]), at.cursor)
		if err := stream.SendMsg(frame); err != nil {
			return err
		}
	}
}

// wait waits for the event after l.
func (l *link) wait(ctx context.Context) error {
	select {
	case <-l.linked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
