package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// Bounds of a batch: the gateway's.
const (
	bareBatchEvents = 512
	bareBatchBytes  = 1 << 20
)

// walkFrames sends one event a frame.
func walkFrames(stream grpc.ServerStream, at *link) error {
	for {
		next := at.next.Load()
		if next == nil {
			if err := at.wait(stream); err != nil {
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

// walkBatches sends all that there is in a frame, a buffer for each record.
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
			if err := at.wait(stream); err != nil {
				return err
			}
			continue
		}
		// The transport keeps what it is given until it is written.
		frame := append(make(mem.BufferSlice, 0, len(batch)+1), batch...)
		if err := stream.SendMsg(append(frame, at.cursor)); err != nil {
			return err
		}
	}
}

// walkRuns sends all that there is in a frame, a buffer for each run of records
// that lie end to end.
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
			if err := at.wait(stream); err != nil {
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
func (l *link) wait(stream grpc.ServerStream) error {
	select {
	case <-l.linked:
		return nil
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}
