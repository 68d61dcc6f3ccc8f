"""Milliseconds of an exact k-nearest-neighbour search among random unit features: faiss, or PyTorch as the official program does it.

Prints one JSON object. The votes, which take next to no time, are left out here and counted for dinoxide.
"""

import argparse
import json
import statistics
import time

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("faiss", "torch"), default="faiss")
    for name, default in (("train", 50000), ("queries", 10000), ("dim", 384), ("k", 20), ("steps", 5), ("warmup", 1),
                          ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    bank, queries = (random.standard_normal((rows, args.dim), dtype=np.float32) for rows in (args.train, args.queries))
    bank, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (bank, queries))
    if args.engine == "faiss":
        import faiss

        faiss.omp_set_num_threads(args.threads)
        index = faiss.IndexFlatIP(args.dim)
        index.add(bank)

        def search() -> None:
            index.search(queries, args.k)
    else:
        import torch

        torch.set_num_threads(args.threads)
        columns, rows = torch.from_numpy(bank).T.contiguous(), torch.from_numpy(queries)

        def search() -> None:
            for part in rows.split(max(args.queries // 100, 1)):  # eval_knn.py has a hundred parts
                (part @ columns).topk(args.k, largest=True, sorted=True)

    times = []
    for step in range(args.warmup + args.steps):
        begun = time.perf_counter()
        search()
        if step >= args.warmup:
            times.append(1e3 * (time.perf_counter() - begun))
    print(json.dumps({"program": args.engine, **vars(args), "ms": {"total": round(statistics.median(times), 3)}}))


if __name__ == "__main__":
    main()
