# Targets for developers and CI. To run or test the gateway, `go run` and `go test` are
# enough on a fresh clone.

# Directory of the tools, which are built at the versions in tools/go.mod.
TOOLS := tools/bin

# Time that `make soak` spends on each fuzz target.
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

# Generates gen/ from proto/.
generate: tools third_party/proto
	$(TOOLS)/buf generate
	go run ./cmd/openapi gen/openapi/openapi.json gen/openapi/openapi.yaml
	go -C tools run ./protofiles clients ../proto ../third_party/proto ../gen/proto
	$(TOOLS)/buf format -w gen/proto/plain

# Fails if gen/ is out of date with proto/.
check-generated: generate
	@status=$$(git status --porcelain -- gen); \
	if [ -n "$$status" ]; then git diff -- gen; echo "gen/ is out of date: run make generate"; echo "$$status"; exit 1; fi

# Fails if proto/ breaks a client that was generated from the settled contract,
# proto/contract.binpb, or if buf rejects the .proto files for clients. To settle new
# fields, rebuild the contract in a separate commit:
#   buf build proto --exclude-source-info -o proto/contract.binpb
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

# Checks that the code and its tests compile on the platforms of developers.
vet-platforms:
	for target in linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		echo $$target; GOOS=$${target%/*} GOARCH=$${target#*/} go vet ./... || exit 1; \
	done

test:
	go test -race ./...

# Runs the tests with more repetitions: kills, power cuts, random histories, load and
# memory. This takes about 40 minutes. Then it runs each fuzz target for FUZZTIME. All of
# it takes about three hours, or one with FUZZTIME=2m. A failed test logs its seed, and a
# failed fuzz target writes its input to testdata.
soak:
	ONGAIR_GATEWAY_SOAK=1 go test -count=1 -timeout 120m ./...
	for target in $$(grep -rl --include='*_test.go' '^func Fuzz' server cmd | xargs grep -ho '^func Fuzz[A-Za-z0-9]*' | sed 's/func //' | sort -u); do \
		for pkg in $$(grep -rl --include='*_test.go' "^func $$target(" server cmd | xargs -n1 dirname); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./$$pkg || exit 1; \
		done; \
	done
