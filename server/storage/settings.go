package storage

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// owned returns the settings that the gateway relies on, as fields of jetstream.StreamConfig.
// They determine which messages a stream accepts, how long it keeps them and who can read them.
// All others belong to the operator, such as compression and metadata. Replicas and placement do,
// too, unless External sets them.
func owned() []string {
	return []string{
		"Subjects", "SubjectTransform", "Retention", "Discard", "DiscardNewPerSubject",
		"MaxAge", "MaxBytes", "MaxMsgs", "MaxMsgsPerSubject", "MaxMsgSize", "MaxConsumers", "ConsumerLimits",
		"SubjectDeleteMarkerTTL", "Duplicates", "NoAck", "AllowDirect", "AllowAtomicPublish",
	}
}

// change is a changed setting.
type change struct {
	setting  string // as in nats-server's JSON
	from, to any
}

// own gives config the owned settings of ours, and returns what that changed.
func own(config *jetstream.StreamConfig, ours jetstream.StreamConfig) (changes []change) {
	there, wanted := reflect.ValueOf(config).Elem(), reflect.ValueOf(ours)
	for _, name := range owned() {
		field, _ := there.Type().FieldByName(name)
		from, to := there.FieldByIndex(field.Index), wanted.FieldByIndex(field.Index)
		if reflect.DeepEqual(from.Interface(), to.Interface()) {
			continue
		}
		setting, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		changes = append(changes, change{setting, from.Interface(), to.Interface()})
		from.Set(to)
	}
	return changes
}

// scale sets the replicas of config to those of ours, if ours has any.
func scale(config *jetstream.StreamConfig, ours jetstream.StreamConfig) []change {
	from := config.Replicas
	if ours.Replicas == 0 || ours.Replicas == from {
		return nil
	}
	config.Replicas = ours.Replicas
	return []change{{"num_replicas", from, ours.Replicas}}
}

// move sets the placement of config to that of ours, if ours has any.
func move(config *jetstream.StreamConfig, ours jetstream.StreamConfig) []change {
	from := config.Placement
	if ours.Placement == nil || from != nil && from.Cluster == ours.Placement.Cluster && slices.Equal(from.Tags, ours.Placement.Tags) {
		return nil
	}
	config.Placement = ours.Placement
	if from == nil {
		from = &jetstream.Placement{}
	}
	return []change{{"placement", *from, *ours.Placement}}
}

// checkUsable fails if a stream has a setting that the gateway cannot work with, and that
// cannot be changed, or that only an operator should change.
func checkUsable(config jetstream.StreamConfig) error {
	const remedy = "move its data away and delete it, or use another NATS account"
	for _, c := range []struct {
		unusable     bool
		what, remedy string
	}{
		{config.Mirror != nil, "is a mirror", "remove its mirror setting to make it the log, and stop the gateways of the other one"},
		{config.Sealed, "is sealed and takes no messages", remedy},
		{config.Storage != jetstream.FileStorage, "is not stored in files", remedy},
		{config.Retention == jetstream.WorkQueuePolicy, "is a work queue, which gives each message to one reader", remedy},
		{config.PersistMode != jetstream.DefaultPersistMode, "acknowledges messages before they are on the disk (persist_mode)", remedy},
		{config.AllowMsgCounter, "takes only counters (allow_msg_counter)", remedy},
	} {
		if c.unusable {
			return fmt.Errorf("stream %s %s: %s", config.Name, c.what, c.remedy)
		}
	}
	return nil
}
