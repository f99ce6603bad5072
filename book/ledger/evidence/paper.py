"""The paper's tables as data, and what follows from them by arithmetic.

Figures: Fifty et al., ICLR 2025 (arXiv 2410.06424v2), Tables 1 to 7. No seeds or error bars are given there.
"""

from __future__ import annotations

from book.ledger.evidence.codebooks import more_codes_in_use
from book.statements import Finding, evidence

# STE and rotation: usage in percent, quantisation error, validation loss, r-FID (r-FVD for video), r-IS
TABLES = {
    "1 Euclid 1024": ((100, 5.9e-3, 0.115, 106.1, 11.7), (97, 5.1e-4, 0.122, 85.7, 17.0)),
    "1 cosine 1024": ((75, 2.9e-3, 0.114, 84.3, 17.7), (91, 2.7e-3, 0.111, 82.9, 18.1)),
    "1 Euclid 8192": ((100, 1.0e-3, 0.030, 19.0, 97.3), (99, 1.4e-4, 0.030, 16.5, 106.3)),
    "1 cosine 8192": ((31, 1.2e-4, 0.038, 26.0, 77.8), (38, 9.6e-5, 0.035, 24.2, 83.9)),
    "2 ImageNet": ((95, 0.134, 0.594, 7.3, 118.2), (98, 0.002, 0.422, 4.6, 146.5)),
    "2 faces": ((27, 0.233, 0.565, 4.7, 5.0), (99, 0.002, 0.313, 3.7, 5.2)),
    "3 64x64x3": ((15, 2.5e-3, 0.183, 0.53, 220.6), (86, 1.7e-4, 0.142, 0.27, 228.0)),
    "3 32x32x4": ((2, 1.2e-2, 0.385, 5.0, 141.5), (27, 2.4e-4, 0.269, 1.1, 200.2)),
    "4 ViT": ((0.3, 6.7e-3, 0.127, 29.2, 43.0), (2.2, 8.3e-3, 0.113, 11.2, 93.1)),
    "5 BAIR": ((0.4, 0.03, 0.28, 1661.1, None), (43, 3.0e-3, 0.074, 21.4, None)),
    "5 UCF": ((0.1, 0.006, 0.169, 2878.1, None), (30, 0.020, 0.109, 229.1, None)),
}
# the column of a metric, and whether more is better
METRICS = {"usage": (0, True), "error": (1, False), "validation": (2, False), "fid": (3, False), "is": (4, True)}
FREE = ("1 Euclid 1024", "1 Euclid 8192", "2 ImageNet", "2 faces", "3 64x64x3", "3 32x32x4")  # |z| is not normalised
TRAIN = {
    "1 Euclid 1024": (0.107, 0.116),
    "1 cosine 1024": (0.107, 0.105),
    "1 Euclid 8192": (0.028, 0.028),
    "1 cosine 8192": (0.034, 0.033),
}
# Table 1 at K = 8192: quantisation error, validation loss, r-FID of STE, Hessian approximation, exact gradients
OTHERS = {
    "Euclid": ((1.0e-3, 0.030, 19.0), (6.9e-5, 0.112, 35.6), (2.0e-3, 0.053, 25.4)),
    "cosine": ((1.2e-4, 0.038, 26.0), (3.8e-5, 0.037, 29.0), (3.6e-5, 0.037, 28.2)),
}
# their training losses
TRAIN_OTHERS = {"Euclid": (0.028, 0.082, 0.050), "cosine": (0.034, 0.035, 0.035)}
GUMBEL = {"usage": ((39, 99), (4, 86), (12, 27)), "fid": ((28.6, 16.5), (0.60, 0.27), (1.7, 1.1))}
# Tables 6 and 7, with and without the norm factor: usage, quantisation error, validation loss, r-FID, r-IS
ABLATION = {
    "VQ-VAE": ((99, 1.4e-4, 0.030, 16.5, 106.3), (100, 4.0e-4, 0.030, 16.5, 106.1)),
    "64x64x3": ((45, 4.0e-4, 0.161, 0.46, 225.0), (28, 1.5e-3, 0.183, 0.60, 220.0)),
    "32x32x4": ((18, 3.3e-4, 0.292, 1.5, 196.1), (13, 9.4e-4, 0.292, 1.5, 191.5)),
}


def _gains(metric: str) -> dict[str, float]:
    """By how much the rotation is better than STE, in every setting that reports the metric."""
    column, more_is_better = METRICS[metric]
    sign = 1 if more_is_better else -1
    reported = {name: rows for name, rows in TABLES.items() if rows[0][column] is not None}
    return {name: sign * (rotation[column] - ste[column]) for name, (ste, rotation) in reported.items()}


@evidence
def tables_improve(metric, where=""):
    """In how many settings of Tables 1 to 5 (of those whose name starts with ``where``) rotation is the better."""
    gains = [gain for name, gain in _gains(metric).items() if name.startswith(where)]
    better, equal = sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains)
    return Finding.of(
        better == len(gains),
        better > len(gains) / 2,
        settings=len(gains),
        better=better,
        equal=equal,
        worse=len(gains) - better - equal,
    )


def _factor(metric: str, ste: tuple, rotation: tuple) -> float:
    """By what factor the rotation is better than STE; below 1 where it is worse."""
    column, more_is_better = METRICS[metric]
    factor = rotation[column] / ste[column]
    return factor if more_is_better else 1 / factor


@evidence
def tables_improve_by(percent, where, *metrics):
    """Rotation is better by so much, by each of these metrics, in every setting whose name starts with ``where``.

    The correction: it is better by each of them everywhere, and by less than so much in one setting at most.
    """
    rows = {name: pair for name, pair in TABLES.items() if name.startswith(where)}
    factors = {name: min(_factor(metric, *pair) for metric in metrics) for name, pair in rows.items()}
    short = [name for name, factor in factors.items() if factor < 1 + float(percent) / 100]
    least, *rest = sorted(factors.values())
    return Finding.of(
        not short,
        least > 1 and len(short) <= 1,
        settings=len(factors),
        smallest_factor=least,
        smallest_of_the_rest=rest[0],
        largest_factor=rest[-1],
        which_have_less="; ".join(short) or "none",
    )


@evidence
def tables_have_both():
    """The error falls tenfold or more in most settings, and usage at least doubles in every one.

    The correction: usage rises in all but those in which STE uses every code.
    """
    error = [_factor("error", *rows) for rows in TABLES.values()]
    usage = {name: _factor("usage", *rows) for name, rows in TABLES.items()}
    full = {name for name, (ste, _) in TABLES.items() if ste[0] == 100}
    often = sum(factor >= 10 * (1 - 1e-9) for factor in error) > len(error) / 2
    return Finding.of(
        often and min(usage.values()) >= 2,
        often and {name for name, factor in usage.items() if factor < 1} == full != set(),
        settings=len(TABLES),
        error_falls_tenfold=sum(factor >= 10 * (1 - 1e-9) for factor in error),
        usage_doubles=sum(factor >= 2 for factor in usage.values()),
        usage_falls=sum(factor < 1 for factor in usage.values()),
    )


@evidence
def tables_can_improve(*metrics):
    """In how many settings of Tables 1 to 5 the rotation is better by all of these metrics: one is enough for "can"."""
    gains = [_gains(metric) for metric in metrics]
    better = [name for name in TABLES if all(one[name] > 0 for one in gains)]
    return Finding.of(len(better) > 0, settings=len(TABLES), better_by_all=len(better))


@evidence
def tables_improve_everything():
    """Every metric better in every setting? Table 1, Euclid, K = 1024 has lower usage and higher losses."""
    worse = [f"{name} {metric}" for metric in METRICS for name, gain in _gains(metric).items() if gain < 0]
    worse += [f"{name} train" for name, (ste, rot) in TRAIN.items() if rot > ste]
    return Finding.of(not worse, 0 < len(worse) < 10, cells_that_are_worse=len(worse), which="; ".join(worse))


@evidence
def tables_improve_all_losses():
    """Better in all settings by r-FID; by usage, error and validation loss in most."""
    counts = {m: tables_improve(m).numbers["better"] for m in ("fid", "usage", "error", "validation")}
    return Finding.of(
        all(n == len(TABLES) for n in counts.values()),
        counts["fid"] == 11 and min(counts.values()) == 9,
        **{f"better_{m}": n for m, n in counts.items()},
    )


@evidence
def error_unchanged(setting, ste, rotation):
    """The quantisation error of a setting is the same within 10 percent. The correction: the two figures."""
    a, b = (row[1] for row in TABLES[setting])
    return Finding.of(abs(b / a - 1) < 0.1, (a, b) == (float(ste), float(rotation)), ratio=b / a)


@evidence
def table_cell(setting, metric, ste, rotation):
    """One row of a table: the two figures are as quoted."""
    column, _ = METRICS[metric]
    a, b = (row[column] for row in TABLES[setting])
    return Finding.of((a, b) == (float(ste), float(rotation)), ste=a, rotation=b)


@evidence
def number_of_settings():
    """Tables 1 to 5 compare the two estimators in 11 settings."""
    return Finding.of(len(TABLES) == 11, settings=len(TABLES))


@evidence
def low_usage_is_common():
    """STE's usage in the paper's own runs."""
    usage = [ste[0] for ste, _ in TABLES.values()]
    low = sum(u < 50 for u in usage)
    return Finding.of(low > len(usage) / 2, settings_below_50_percent=low, lowest=min(usage), highest=max(usage))


@evidence
def usage_from_80_to_95():
    """No pair of usages in Tables 1 to 5 is near 80 and 95 percent; the nearest is 75 and 91."""
    gaps = {name: abs(ste[0] - 80) + abs(rot[0] - 95) for name, (ste, rot) in TABLES.items()}
    name = min(gaps, key=gaps.get)
    return Finding.of(gaps[name] < 4, None, nearest_setting=name, ste=TABLES[name][0][0], rotation=TABLES[name][1][0])


@evidence
def usage_bound():
    """K / (1 + exp(-x)) >= K/2 for every x >= 0, but the rotation's usage is 2.2 percent in Table 4."""
    below = {name: rot[0] for name, (_, rot) in TABLES.items() if rot[0] < 50}
    return Finding.of(
        None, len(below) > 0, settings_below_half=len(below), lowest_usage=min(below.values(), default=100)
    )


@evidence
def usage_always_rises():
    """A positive lower bound on the rise of usage would forbid the two settings in which it fell."""
    fell = [name for name, gain in _gains("usage").items() if gain < 0]
    return Finding.of(not fell, None, settings_in_which_usage_fell=len(fell), which="; ".join(fell))


@evidence
def error_factor(setting, at_least):
    """By how much the quantisation error fell in one setting."""
    ste, rot = TABLES[setting]
    factor = ste[1] / rot[1]
    return Finding.of(factor >= float(at_least) * (1 - 1e-9), factor > 10, factor=factor)


@evidence
def table_1_errors_and_usage():
    """In Table 1 the quantisation error falls in all four settings, once tenfold, and the two low usages rise.

    Low is a usage of STE below 80 percent.
    """
    rows = {name: pair for name, pair in TABLES.items() if name.startswith("1 ")}
    factors = {name: ste[1] / rot[1] for name, (ste, rot) in rows.items()}
    low = {name: (ste[0], rot[0]) for name, (ste, rot) in rows.items() if ste[0] < 80}
    improved = all(rot > ste for ste, rot in low.values())
    return Finding.of(
        min(factors.values()) > 1 and max(factors.values()) >= 10 and len(low) > 0 and improved,
        smallest_factor=min(factors.values()),
        largest_factor=max(factors.values()),
        factors=", ".join(f"{factor:.3g}" for factor in factors.values()),
        low_usages=len(low),
        which="; ".join(f"{name} {ste:g} to {rot:g}" for name, (ste, rot) in low.items()),
    )


@evidence
def usage_factor(setting, factor):
    """By how much the usage rose in one setting."""
    ste, rot = TABLES[setting]
    return Finding.of(abs(rot[0] / ste[0] - float(factor)) < 1e-9, factor=rot[0] / ste[0])


@evidence
def error_and_free_norms():
    """The error falls by 7 to 116 where the norm of z is free, by 0.8 to 1.3 where it is fixed (images)."""
    factors = {name: ste[1] / rot[1] for name, (ste, rot) in TABLES.items() if not name.startswith("5")}
    free, fixed = ([f for n, f in factors.items() if (n in FREE) == x] for x in (True, False))
    return Finding.of(
        min(free) > 5 and max(fixed) < 1.5,
        None,
        smallest_factor_free=min(free),
        largest_factor_free=max(free),
        smallest_factor_fixed=min(fixed),
        largest_factor_fixed=max(fixed),
    )


@evidence
def usage_and_error_go_together():
    """More codes in use need not mean less error: UCF and ViT raise both. Codes that are added never raise it."""
    against = [n for n, (s, r) in TABLES.items() if (r[0] - s[0]) * (r[1] - s[1]) > 0]
    lowest_error = OTHERS["Euclid"][1][0] < OTHERS["Euclid"][0][0] and OTHERS["Euclid"][1][1] > OTHERS["Euclid"][0][1]
    return Finding.of(
        not against,
        more_codes_in_use().fix,
        settings_against=len(against),
        with_the_smallest_error_the_loss_is_higher=int(lowest_error),
        which="; ".join(against),
        validation_loss_of_the_smallest_error=OTHERS["Euclid"][1][1],
    )


@evidence
def other_gradients(which):
    """Hessian approximation and exact gradients against STE at K = 8192."""
    fid = all(x[2] > rows[0][2] for rows in OTHERS.values() for x in rows[1:])
    loss = all(x[1] > rows[0][1] for rows in OTHERS.values() for x in rows[1:])
    claim, fix = {"r-FID": (fid, None), "both": (fid and loss, fid and not loss)}[which]
    ste, _, exact = OTHERS["cosine"]
    return Finding.of(claim, fix, cosine_validation_STE=ste[1], cosine_validation_exact=exact[1])


@evidence
def exact_gradients_overfit():
    """With exact gradients the validation loss exceeds the training loss by a larger share than STE's, in Table 1.

    The correction: by a smaller one, and neither loss is better than STE's; the Hessian's is larger under Euclidean
    lookup.
    """
    shares = {
        lookup: [row[1] / train for row, train in zip(OTHERS[lookup], TRAIN_OTHERS[lookup], strict=True)]
        for lookup in OTHERS
    }
    ste, hessian, exact = zip(*shares.values(), strict=True)
    fits = [TRAIN_OTHERS[lookup][2] >= TRAIN_OTHERS[lookup][0] for lookup in OTHERS]
    return Finding.of(
        all(e > s for e, s in zip(exact, ste, strict=True)),
        all(e < s for e, s in zip(exact, ste, strict=True)) and all(fits) and hessian[0] > ste[0],
        exact_Euclid=exact[0],
        exact_cosine=exact[1],
        STE_Euclid=ste[0],
        STE_cosine=ste[1],
        Hessian_Euclid=hessian[0],
        Hessian_cosine=hessian[1],
    )


@evidence
def against_gumbel():
    """Rotation has the higher usage and the lower r-FID than Gumbel-softmax in every setting that compares them."""
    ok = all(rot > g for g, rot in GUMBEL["usage"]) and all(rot < g for g, rot in GUMBEL["fid"])
    return Finding.of(ok, settings=3)


@evidence
def ablation(which):
    """With the norm factor against without it, as printed."""
    with_, without = ABLATION[which]
    better = [
        with_[0] >= without[0],
        with_[1] < without[1],
        with_[2] < without[2],
        with_[3] < without[3],
        with_[4] > without[4],
    ]
    factor = without[1] / with_[1]
    claim = {"VQ-VAE": abs(factor - 1) < 0.1, "64x64x3": all(better), "32x32x4": all(better)}[which]
    return Finding.of(
        claim,
        {"VQ-VAE": with_[2] == without[2], "32x32x4": better == [True, True, False, False, True]}.get(which),
        error_without_over_with=factor,
        metrics_better_with_the_factor=sum(better),
    )


@evidence
def on_a_par_in_the_tables():
    """In two of the three ablations the trick without its norm factor has the same validation loss and r-FID.

    Whether that is many is open.
    """
    equal = [name for name, (with_, without) in ABLATION.items() if with_[2:4] == without[2:4]]
    return Finding.of(None, len(equal) == 2, ablations=len(ABLATION), on_a_par=len(equal))


@evidence
def euclidean_gains():
    """r-FID falls in every setting with Euclidean lookup, and by more than under cosine in both pairs of Table 1."""
    fall = {name: 1 - rotation[3] / ste[3] for name, (ste, rotation) in TABLES.items()}
    wider = [fall[f"1 Euclid {K}"] - fall[f"1 cosine {K}"] for K in (1024, 8192)]
    least = min(fall[name] for name in FREE)
    return Finding.of(least > 0 and min(wider) > 0, least_fall=least, least_lead_over_cosine=min(wider))
