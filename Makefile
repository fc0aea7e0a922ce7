# What developers and CI run. The product itself needs none of it: `go run` and
# `go test` work on a fresh clone.

# The tools are built at the versions that tools/go.mod pins.
TOOLS := tools/bin

# How long `make soak` fuzzes each parser.
FUZZTIME ?= 10m

.PHONY: all tools generate check-generated check-contract lint vet-platforms test soak

all: lint test

tools:
	go -C tools build -o bin/ tool

third_party/proto: tools/go.mod $(wildcard tools/protofiles/*.go) | tools
	rm -rf $@
	go -C tools run ./protofiles imports ../$@
	$(TOOLS)/buf format -w $@
	touch $@

# Writes gen/ from proto/.
generate: tools third_party/proto
	$(TOOLS)/buf generate
	go -C tools run ./protofiles clients ../proto ../third_party/proto ../gen/proto
	$(TOOLS)/buf format -w gen/proto/plain

# Fails if gen/ is not what proto/ says.
check-generated: generate
	@status=$$(git status --porcelain -- gen); \
	if [ -n "$$status" ]; then git diff -- gen; echo "gen/ is out of date: run make generate"; echo "$$status"; exit 1; fi

# Fails if proto/ breaks a client that was generated from the settled contract, or if buf
# does not work with what clients get. The image is written again (buf build proto
# --exclude-source-info -o proto/contract.binpb) in a commit of its own, when fields are
# added, so that they are settled, too.
check-contract: tools third_party/proto
	$(TOOLS)/buf breaking proto --against proto/contract.binpb
	for form in full plain; do \
		$(TOOLS)/buf lint gen/proto/$$form && \
		$(TOOLS)/buf breaking gen/proto/$$form --exclude-imports --against proto/contract.binpb || exit 1; \
	done

lint: tools third_party/proto
	test -z "$$(gofmt -l cmd server gen tools | tee /dev/stderr)"
	go vet ./...
	$(TOOLS)/golangci-lint run ./...
	$(TOOLS)/buf lint
	$(TOOLS)/buf format --diff --exit-code proto

# Checks that everything, tests included, compiles on the machines of developers.
vet-platforms:
	for target in linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		echo $$target; GOOS=$${target%/*} GOARCH=$${target#*/} go vet ./... || exit 1; \
	done

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
