package main

// comparison is how a figure is compared with a baseline's.
type comparison int

const (
	// absolute compares it with the limit alone.
	absolute comparison = iota
	// ratio divides it by the baseline's.
	ratio
	// difference subtracts the baseline's.
	difference
)

// goal is what a trial should show.
type goal struct {
	metric metric
	// of is the variant that the goal is about; empty means the gateway.
	of string
	// against is the baseline; unused for an absolute goal.
	against string
	compare comparison
	// limit is the least, or with atMost the most, that meets the goal.
	limit  float64
	atMost bool
	text   string
}

// verdict is a goal and what came of it.
type verdict struct {
	Goal    string  `json:"goal"`
	Metric  metric  `json:"metric"`
	Of      string  `json:"of"`
	Against string  `json:"against,omitempty"`
	Figure  float64 `json:"figure"`
	Kind    string  `json:"kind"`
	Limit   float64 `json:"limit"`
	// Met is nil where nothing was measured.
	Met *bool `json:"met"`
}

// judge compares round by round, since what disturbs the machine disturbs both
// variants of a round alike, and takes the median.
func (g goal) judge(variants []measuredVariant) verdict {
	of, against := g.of, g.against
	if of == "" {
		of = gateway
	}
	v := verdict{Goal: g.text, Metric: g.metric, Of: of, Against: against, Limit: g.limit}
	var subject, baseline []sample
	for _, variant := range variants {
		switch variant.Name {
		case of:
			subject = variant.Rounds
		case against:
			baseline = variant.Rounds
		}
	}
	var figures []float64
	for i, s := range subject {
		value, ok := s[g.metric]
		if !ok {
			continue
		}
		switch g.compare {
		case absolute:
			v.Kind = "value"
			figures = append(figures, value)
		case ratio:
			v.Kind = "ratio"
			if i < len(baseline) && baseline[i][g.metric] > 0 {
				figures = append(figures, value/baseline[i][g.metric])
			}
		case difference:
			v.Kind = "difference"
			if i < len(baseline) {
				figures = append(figures, value-baseline[i][g.metric])
			}
		}
	}
	if len(figures) == 0 {
		return v
	}
	v.Figure = median(figures)
	met := v.Figure >= g.limit
	if g.atMost {
		met = v.Figure <= g.limit
	}
	v.Met = &met
	return v
}
