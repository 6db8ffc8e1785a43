#!/bin/sh
# Makes the Swift files of etcd.proto anew. Run it in this folder after changing it.
# Needs protoc and, on PATH, protoc-gen-swift (of swift-protobuf) and protoc-gen-grpc-swift-2 (of grpc-swift-protobuf):
# `swift build --product NAME` in a checkout of those packages.
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
protoc -I. --swift_out="$out" --grpc-swift-2_out="$out" --grpc-swift-2_opt=Server=false etcd.proto
for name in etcd; do
  for part in pb grpc; do
    {
      echo "// Generated from $name.proto by generate.sh; do not edit."
      echo "// swift-format-ignore-file"
      grep -v '^// swift-format-ignore-file' "$out/$name.$part.swift"
    } >"$name.$part+Generated.swift"
  done
done
