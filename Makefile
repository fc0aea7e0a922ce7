# What developers and CI run. The product itself needs none of it: `go run` and
# `go test` work on a fresh clone.

# The tools are built at the versions that tools/go.mod pins.
TOOLS := tools/bin

# How long `make soak` fuzzes each parser.
FUZZTIME ?= 10m

.PHONY: all tools generate check-generated lint test soak

all: lint test

tools:
	go -C tools build -o bin/ tool

third_party/proto: tools/go.mod tools/protodeps/main.go
	rm -rf $@
	go -C tools run ./protodeps ../third_party/proto
	touch $@

# Writes gen/ anew from proto/.
generate: tools third_party/proto
	$(TOOLS)/buf generate

# Fails where gen/ is not what proto/ says.
check-generated: generate
	@status=$$(git status --porcelain -- gen); \
	if [ -n "$$status" ]; then git diff -- gen; echo "gen/ is out of date: run make generate"; echo "$$status"; exit 1; fi

lint: tools third_party/proto
	test -z "$$(gofmt -l cmd server gen tools | tee /dev/stderr)"
	go vet ./...
	$(TOOLS)/golangci-lint run ./...
	$(TOOLS)/buf lint
	$(TOOLS)/buf format --diff --exit-code proto

test:
	go test -race ./...

# The same tests, where repetition and length find more: kills, power cuts, random
# histories, loads, memory, for about 40 minutes; then fuzzing, FUZZTIME for each of eleven
# parsers: two and a half hours in all, and one with FUZZTIME=2m. What fails names its seed
# or leaves its input.
soak:
	ONGAIR_GATEWAY_SOAK=1 go test -count=1 -timeout 120m ./...
	for target in $$(grep -rl --include='*_test.go' '^func Fuzz' server cmd | xargs grep -ho '^func Fuzz[A-Za-z0-9]*' | sed 's/func //' | sort -u); do \
		for pkg in $$(grep -rl --include='*_test.go' "^func $$target(" server cmd | xargs -n1 dirname); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./$$pkg || exit 1; \
		done; \
	done
