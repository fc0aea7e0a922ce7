package main

// comparison is the way in which a figure is compared.
type comparison int

const (
	// absolute compares the figure with the limit only.
	absolute comparison = iota
	// ratio divides the figure by the baseline's.
	ratio
	// difference subtracts the baseline's figure.
	difference
)

// goal is an expected result of a trial.
type goal struct {
	metric metric
	// of is the variant whose figure is compared. Empty means the gateway.
	of string
	// against is the baseline. An absolute goal has none.
	against string
	compare comparison
	// limit is the smallest figure that meets the goal. With atMost it is the largest.
	limit  float64
	atMost bool
	text   string
}

// verdict is a goal and its result.
type verdict struct {
	Goal    string  `json:"goal"`
	Metric  metric  `json:"metric"`
	Of      string  `json:"of"`
	Against string  `json:"against,omitempty"`
	Figure  float64 `json:"figure"`
	Kind    string  `json:"kind"`
	Limit   float64 `json:"limit"`
	// Met is nil if nothing was measured.
	Met *bool `json:"met"`
}

// judge compares the figures of each round and takes the median. A disturbance of the machine
// affects both variants of a round alike.
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
