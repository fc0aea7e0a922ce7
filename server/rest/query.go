package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/reflect/protoreflect"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// checkQuery decodes each query parameter separately, so that every invalid one can be
// reported. It replaces the query by one that grpc-gateway accepts.
func (r route) checkQuery(req *http.Request) *fault.Fault {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			"the query string is malformed: in a value a percent sign is %%25, a semicolon %%3B, and an ampersand %%26")
	}
	if _, ok := values[""]; ok { // a violation must name its field
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the query string has a parameter without a name")
	}
	var violations []fault.Violation
	refuse := func(name, reason, why string) {
		violations = append(violations, fault.Violation{Field: name, Description: why, Reason: reason})
	}
	fields := r.input.Descriptor().Fields()
	given := map[protoreflect.FieldDescriptor]bool{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		switch field := fieldOf(fields, name); {
		case req.Method != http.MethodGet:
			refuse(name, fault.ViolationUnknown, "this method takes its fields in the body, and no query parameters")
		case field == nil:
			refuse(name, fault.ViolationUnknown, "unknown query parameter: use one of "+namesOf(fields))
		case given[field], len(value) > 1 && !field.IsList(): // the first is in both spellings
			refuse(name, fault.ViolationRepeated, "is given more than once")
		case excluded(field, given):
			refuse(name, fault.ViolationConflict, onlyOne(field.ContainingOneof()))
		case slices.ContainsFunc(value, func(v string) bool { return !utf8.ValidString(v) }):
			refuse(name, fault.ViolationMalformed, "is not UTF-8")
		default:
			given[field] = true
			for i := range value {
				value[i] = canonical(field, value[i])
				if r.accepts(name, value[i]) {
					continue
				}
				at := name
				if len(value) > 1 {
					at = fmt.Sprintf("%s[%d]", name, i)
				}
				refuse(at, fault.ViolationMalformed, wantedInURL(field))
			}
		}
	}
	if violations != nil {
		return fault.Invalid(violations...)
	}
	readable := *req.URL
	readable.RawQuery = values.Encode()
	req.URL = &readable
	return nil
}

// accepts reports whether grpc-gateway accepts a query parameter.
func (r route) accepts(name, value string) bool {
	return runtime.PopulateQueryParameters(r.input.New().Interface(), url.Values{name: {value}}, &utilities.DoubleArray{}) == nil
}

// wantedInURL is wanted for a query parameter.
func wantedInURL(field protoreflect.FieldDescriptor) string {
	if field.Kind() == protoreflect.MessageKind && field.Message().FullName() == timestampName {
		return wanted(field) + "; in a URL a plus is %2B"
	}
	return wanted(field)
}
