"""The interval around a score, the upper end of a screen, and why a row outside them cannot win.

Notation: q and x are float32 rows, ‖·‖ their float64 norms, u = x/‖x‖ and v = q/‖q‖.
``encode`` gives for x integer codes c, |c| ≤ 127, a float32 scale s and a float32
error ε; for q likewise d, t, δ. Write û = s·c and v̂ = t·d. The errors are measured,
so that in real numbers

    (1)  ‖u − û‖ + r ≤ ε   and   ‖v − v̂‖ + r ≤ δ,   with r = 2⁻²¹ to spare.

**The bound.** ⟨v, u⟩ − ⟨v̂, û⟩ = ⟨v, u − û⟩ + ⟨v − v̂, û⟩, and by Cauchy–Schwarz, with
‖v‖ = 1 and ‖û‖ ≤ 1 + ‖u − û‖ ≤ 1 + ε,

    (2)  |⟨v, u⟩ − ⟨v̂, û⟩| ≤ (ε − r) + (δ − r)(1 + ε).

⟨v̂, û⟩ = t·s·I, where I = Σ d·c is an integer that the micro-kernels compute exactly
(|I| ≤ 127²·dims < 2³¹ for dims ≤ 133,000). A zero row has c = 0, s = 0, ε = 0, a zero
query d = 0, t = 1, δ = 0, and the cosine 0 lies in the interval.

**In float64** (``interval``, ``metrics``): a = I·(t·s) and e = ε + δ(1 + ε) are computed
with three roundings each, relative 2⁻⁵³, of values below 4. The score itself is Σ of at
most 4,096 terms in a lane, folded five times, divided by a root: with
Σ|q_d·x_d| ≤ ‖q‖‖x‖, its error is below 4,110·2⁻⁵³ < 2⁻⁴⁰ in units of ‖q‖‖x‖. All
this is far below r, so

    (3)  lower ≤ score ≤ upper   for the computed score, lower and upper.

For the inner product the interval is multiplied by ‖q‖‖x‖, relative rounding 2⁻⁵⁰.

**In float32** (the scan): a row is kept if fl(fl(fl(I)·s′) + fl(μ·w)) ≥ θ. P is a power
of two that brings the largest norm of the rows at hand to [½, 1), so nothing overflows;
what underflows is below 2⁻¹¹⁸ and is covered by 2⁻¹⁹. L ≤ 1 is that norm times P, E the
largest ε of those rows, R = (1 + E)·L, and root the score to be reached.

    cosine          s′ = s            μ = ε            w = 1/t   (P = L = 1 here)
    inner product   s′ = s·‖x‖·P      μ = ε·‖x‖·P      w = 1/t
    (4)  θ = (root·P/‖q‖ − (δ + 2⁻¹⁹)·R) / t,   rounded down by 2⁻²² of its magnitude.

In units of 1/t every term of a row that could reach the root is at most 4R in
magnitude: |I·s′|·t ≤ (1 + δ)·R and μ ≤ R. Six roundings of relative size 2⁻²⁴ (of
I, s′, μ, w, and two products) and the sum's move the left side by less than
7·4R·2⁻²⁴ < 2⁻¹⁹·R. So a row whose upper end of (3) reaches the root passes the test.

For the distance D = −root, D² ≥ ‖q‖² + ‖x‖² − 2⟨q, x⟩ says, with κ = ‖q‖·P,
⟨v, u⟩·‖x‖·P ≥ (κ + (‖x‖·P)²/κ − (D·P)²/κ)/2, and so

    euclidean       s′ = s·‖x‖·P      μ = −(‖x‖·P)²    w = 1/(2κt)
    (5)  θ = ((κ − (D·P)²/κ)/2 − 2⁻¹⁹(κ + L²/κ) − E·L − (δ + 2⁻¹⁹)·R) / t, rounded down.

κ + L²/κ ≥ 2L bounds every term on the left, as 4R did, and L²/(2κ) that of μ. Where κ
is so small that w might overflow, or below 2⁻⁴⁰·L, every row passes. In float64 the
interval of D² gets 2⁻³⁶(‖q‖² + ‖x‖²): the computed Σ of rounded squares is within
4,110·2⁻⁵² of itself, itself at most twice that sum.

**The threshold.** ``root`` is the k-th largest lower end seen, so at least k rows score
no less. A row is dropped only if its upper end is *strictly* below: then k rows beat
it. With equality it stays, as it may win by its index. Rescoring goes through the
survivors by falling upper end and stops where that is strictly below the k-th exact
score found, for the same reason.

**Measured, not assumed** (``encode``): the row is first scaled by a power of two if its
largest entry M is outside 2⁻²⁰ … 2²⁰ (exact, but for entries below 2⁻¹²⁶ that vanish:
2⁻¹⁴⁹ each). τ = fl(M/127), c = rint(x·fl(127/M)), y = fl(x − fl(τ·c)), E² = Σ y² in
float32, 32 lanes. Then ‖x − τ·c‖ ≤ ‖y‖ + 2⁻²⁴(‖τ·c‖ + ‖y‖)(1 + 2⁻²³) and
‖y‖ ≤ E·(1 + γ), γ = (dims/32 + 8)·2⁻²⁴, plus √dims·2⁻⁷⁴ for squares that underflow,
against ‖x‖ ≥ 2⁻²⁰. Divided by ‖x‖: 2⁻²²·1.1 at most. s = fl(τ/‖x‖) moves û by
2⁻²⁴(1 + ε), and ε's own rounding by 2⁻²³·ε. Adding 2⁻²⁰ pays for all and leaves r.

**A prefix** of p dimensions keeps the codes. With ρ = ‖x_p‖/‖x‖ its scale is s/ρ in
float64, and its error is measured again, against these codes and in float64. Where that
error comes out as 1 or more, the scale is taken as 0 instead, for which the error is 1.

**The screen** (``screen.py``) has for a row and a query codes in p directions, the columns
of *any* matrix V: ĥ = s·c and ĝ = t·d. Write M = VᵀV. Then

    u = Vĥ + (u − Vĥ),   v = Vĝ + (v − Vĝ)
    ⟨v, u⟩ = ⟨Vᵀv, ĥ⟩ + ⟨ĝ, Vᵀ(u − Vĥ)⟩ + ⟨v − Vĝ, u − Vĥ⟩,

and with ⟨Vᵀv, ĥ⟩ = ⟨ĝ, ĥ⟩ + ⟨Vᵀv − ĝ, ĥ⟩, by Cauchy–Schwarz three times,

    (6)  ⟨v, u⟩ ≤ t·s·I + δ‖ĥ‖ + ‖ĝ‖η + τρ,
         δ ≥ ‖Vᵀv − ĝ‖,  η ≥ ‖Vᵀu − Mĥ‖,  τ ≥ ‖v − Vĝ‖,  ρ ≥ ‖u − Vĥ‖.

Nothing is asked of V, such as to be orthonormal, or to have the same bits everywhere: a bad
V only makes the right side large. κ ≥ ‖M − 1‖ (Frobenius) is measured in float64. The
float32 products h ≈ Vᵀx/‖x‖ of one matrix product, in whatever order they are summed and
whether fused or not, are within π = γ·‖V‖ (Frobenius) of Vᵀu, with γ =
dims·2⁻²⁴/(1 − dims·2⁻²⁴): each entry is within γ·Σ|x_d||V_dj| ≤ γ‖x‖‖V_j‖ (Higham,
"Accuracy and Stability of Numerical Algorithms", section 3.1). This holds while nothing
overflows and what underflows is negligible, for ‖x‖ from 2⁻⁶⁰ to 2⁶⁰; rows beyond get
ρ = 2³⁰, so that ρτ ≥ 2¹⁰ is more than any ⟨v, u⟩, queries δ = 8, and all their pairs
pass. So, in float64 from the h at hand, with a = ⟨h, ĥ⟩, b = ‖ĥ‖², E = ‖h − ĥ‖:

    ρ² = ‖u‖² − 2⟨Vᵀu, ĥ⟩ + ⟨ĥ, Mĥ⟩ ≤ 1 − 2a + 2π√b + (1 + κ)·b
    η ≤ ‖Vᵀu − h‖ + ‖h − ĥ‖ + ‖(1 − M)ĥ‖ ≤ π + E + κ√b

and likewise τ, and δ ≤ π + E. Where no entry of h exceeds 2⁻⁴⁰, the code is zero, so that 1/t is at
most 2⁴⁷ and nothing below overflows. Where this ρ exceeds 1, the code is zero instead, for which
ρ = 1 and η = ‖Vᵀu‖ ≤ ‖h‖ + π. To each measure 2⁻²⁰ is added, which pays for its rounding
to float32 (of values below 4) and for float64. For the rows at hand H is their largest η,
and ‖ĥ‖ ≤ ‖Vᵀu‖ + π + E ≤ 1 + κ + H.

    cosine          s′ = s            μ = ρ            w = τ/t
    inner product   s′ = s·‖x‖·P      μ = ρ·‖x‖·P      w = τ/t
    (7)  θ = (root·P/‖q‖ − (δ·(1 + κ + H) + ‖ĝ‖·H + 2⁻¹⁸)·L) / t,   rounded down as in (4).

    euclidean       s′, μ, w as in (5); in θ of (5), the largest ρ of the rows at hand times τ
                    stands for E, and δ·(1 + κ + H) + ‖ĝ‖·H + 2⁻¹⁸ for δ + 2⁻¹⁹.

In float32: κ ≤ 1 (a matrix further from orthonormal is replaced by zeros), so ‖V‖₂ ≤ √2,
and the two terms on the left are, in units of 1/t, at most ‖ĝ‖‖ĥ‖L ≤ 4L and L; eight
roundings of relative size 2⁻²⁴ move their sum by less than 8·5L·2⁻²⁴ < 2⁻¹⁸·L.

A row that passes gets the interval (3) from its full codes: only upper ends come from a
screen. The threshold before a scan (``seeds.py``) is the least of k exact scores.
"""

from .compile import inline

MEASURED_SLACK = 2.0**-20
"""Added to a measured error for the roundings in measuring it; half of it is left as r."""

FLOAT32_SLACK = 2.0**-19
"""Of the reach R: what the scan's float32 comparison may be off by."""

EUCLIDEAN_SLACK = 2.0**-36
"""Of ‖q‖² + ‖x‖²: what a computed squared distance may be off by."""

ROUND_DOWN = 2.0**-22
"""Of the threshold's magnitude: a rounding to float32, and then some."""


@inline
def cosine_error(q_error, x_error):
    """e of (2)."""
    return x_error + q_error * (1.0 + x_error)
