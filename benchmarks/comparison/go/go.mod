module zokio/benchmarks/comparison

go 1.21
