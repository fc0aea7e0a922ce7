package telemetry

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALoggerDropsRecordsBelowItsLevel(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1, "ERROR": 1} {
		for _, format := range []string{FormatText, FormatJSON} {
			t.Run(level+" as "+format, func(t *testing.T) {
				var out bytes.Buffer
				logger, err := NewLogger(&out, level, format)
				require.NoError(t, err)
				logger.Debug("one")
				logger.Info("two")
				logger.Warn("three")
				logger.Error("four")
				assert.Equal(t, want, bytes.Count(out.Bytes(), []byte("\n")))
			})
		}
	}
}

func TestEachRecordIsOneLine(t *testing.T) {
	var text, lines bytes.Buffer
	logger, err := NewLogger(&text, "info", FormatText)
	require.NoError(t, err)
	logger.Info("one\ntwo", "key", "a\nb \"c\"")
	assert.Equal(t, 1, bytes.Count(text.Bytes(), []byte("\n")))

	logger, err = NewLogger(&lines, "info", FormatJSON)
	require.NoError(t, err)
	logger.Info("one\ntwo", "key", "a\nb \"c\"")
	assert.Equal(t, 1, bytes.Count(lines.Bytes(), []byte("\n")))
	var record map[string]any
	require.NoError(t, json.Unmarshal(lines.Bytes(), &record))
	assert.Equal(t, "one\ntwo", record["msg"])
	assert.Equal(t, "a\nb \"c\"", record["key"])
}

func TestAnInvalidLevelOrFormatIsRejected(t *testing.T) {
	for _, tt := range []struct{ level, format, want string }{
		{"", FormatText, `invalid log level "": use debug, info, warn or error`},
		{"loud", FormatText, `invalid log level "loud": use debug, info, warn or error`},
		{"info", "", `invalid log format "": use text or json`},
		{"info", "xml", `invalid log format "xml": use text or json`},
	} {
		_, err := NewLogger(&bytes.Buffer{}, tt.level, tt.format)
		require.EqualError(t, err, tt.want)
	}
}
