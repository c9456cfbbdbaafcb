export CGO_ENABLED = 0

build:    ; go build -trimpath -o godwit ./cmd/godwit
test:     ; go test ./...
full:     ; GODWIT_FULL=1 go test -count=1 -timeout 60m ./...
race:     ; CGO_ENABLED=1 go test -race -short ./...
generate: ; go generate ./...
fuzz:     ; go run ./tests/fuzz $(FUZZ)
bench:    ; go test -run '^$$' -bench . ./cpu ./mem ./machine ./snapshot
lint:     ; go tool -modfile=tools/go.mod staticcheck ./... && test -z "$$(go tool -modfile=tools/go.mod gofumpt -l $$(git grep -L "^// Code generated" -- "*.go"))"
guest:    ; go run ./cmd/godwit guest debian .cache/guests
cross:
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "$$os/$$arch" && GOOS=$$os GOARCH=$$arch go build -o /dev/null ./cmd/godwit && GOOS=$$os GOARCH=$$arch go vet ./mem ./control || exit 1; done; done
.PHONY: build test full race generate fuzz bench lint guest cross
