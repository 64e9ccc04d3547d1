"""The interval around a score, the upper end of a screen, and why a row outside them cannot win.

Notation: q and x are float32 rows, ‖·‖ their float64 norms, u = x/‖x‖ and v = q/‖q‖.
``encode`` gives for x integer codes c, |c| ≤ 127, a float32 scale s and a float32
error ε; for q likewise d, t, δ. Write û = s·c and v̂ = t·d. The errors are measured,
so that in real numbers

    (1)  ‖u − û‖ + r ≤ ε   and   ‖v − v̂‖ + r ≤ δ,   with r = 2⁻²¹ to spare.

**The bound.** ⟨v, u⟩ − ⟨v̂, û⟩ = ⟨v, u − û⟩ + ⟨v − v̂, û⟩, and by Cauchy–Schwarz, with
‖v‖ = 1 and ‖û‖ ≤ 1 + ‖u − û‖ ≤ 1 + ε,

    (2)  |⟨v, u⟩ − ⟨v̂, û⟩| ≤ (ε − r) + (δ − r)(1 + ε).

⟨v̂, û⟩ = t·s·I, where I = Σ d·c is an integer that the micro-kernels compute exactly: at the most
dimensions, 131,072, |I| ≤ 127·128·dims < 2³¹ for int8 rows, whose codes begin at −128, and
|I| ≤ 127²·(dims + 256) < 2³¹ with the codes of a direction. A zero row has c = 0, s = 0, ε = 0, a zero
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

**A direction** (``direction.py``) is any float32 vector μ, with a float64 m near ‖μ‖ (relative 2⁻⁴⁰).
A row's codes are L codes of sum C and codes c, a query's are L times the same D and codes d; the integer
product of all is I = C·D + Σ d·c. With φ = s·C/√L and ψ = t·D·√L,

    t·s·I = φψ + ⟨t·d, s·c⟩,   and with   u = (φ/m)·μ + y,   v = (ψ/m)·μ + z,

    ⟨v, u⟩ = ⟨z, y⟩ + (φ/m)⟨z, μ⟩ + (ψ/m)⟨μ, y⟩ + φψ·‖μ‖²/m².

Write a = |⟨u, μ⟩/m − φ| and b = |⟨v, μ⟩/m − ψ|, which are |⟨y, μ⟩|/m and |⟨z, μ⟩|/m but for roundings. As
|⟨u, μ⟩| ≤ m, φ ≤ 1 + a and ψ ≤ 1 + b, and so, with ε ≥ ‖y − s·c‖, δ ≥ ‖z − t·d‖, ρ ≥ ‖s·c‖, τ ≥ ‖z‖,

    |⟨v, u⟩ − t·s·I| ≤ τ·ε + ρ·δ + a + b + 2ab.

The scan takes one error of a row and one of a query. For any T ≤ C₀, A and B, where τ ≤ C₀ and ρ ≤ C₀,

    τ·ε ≤ T·ε + (τ − T)⁺·A + (C₀ − T)(ε − A)⁺   and   ρ·δ ≤ T·δ + (ρ − T)⁺·B + (C₀ − T)(δ − B)⁺,

because (τ − T)⁺ ≤ C₀ − T. What belongs to the row, and what to the query, becomes

    (8)  ε′ = T·ε + (C₀ − T)(ε − A)⁺ + (ρ − T)⁺·B + 5a/4
         δ′ = T·δ + (C₀ − T)(δ − B)⁺ + (τ − T)⁺·A + b

and (2) holds for ε′ and δ′: if b ≤ 1/3, 2ab ≤ a/4 + (5/4)ab ≤ a/4 + ε′δ′. From there on all is as above.
‖y‖² = 1 − (⟨u, μ⟩/m)² + a² but for roundings, so ρ is that length and ε; τ² likewise, at most 1 + b²
≤ C₀². A row whose ρ exceeds C₀ or whose ε′ is 1 or more, and a query with b > 1/3 or δ′ ≥ 1, gets the
code 0 and the error of ``NO_CODES``: then |⟨v, u⟩| ≤ 1 is all that is claimed.

As measured: f = φ/m and ψ/m in float32, the products by μ, the differences from x, and those from fl(τ·c) as
above: six roundings of relative 2⁻²⁴ of terms up to ‖x‖(1 + a), C₀‖x‖; s = fl(τ/‖x‖) moves φ and s·c by
2⁻²⁴ each. ⟨u, μ⟩, m and the roots are of float64, below 2⁻³⁸; only the root of a small ‖y‖² is not, where
ρ < T. 2⁻²⁰ within ε and 2⁻¹⁹ added to ε′ pay for all and leave r. t is chosen so that ψ comes out as
⟨v, μ⟩/m: b is a rounding where D ≠ 0. Nothing is asked of μ, such as to be of length 1 or the mean of rows.

A prefix has the prefix of μ, at no right angles to y, and m of the whole. Its queries keep z = v, and
⟨v, u⟩ = ⟨v, y⟩ + (φ/m)⟨v, μ⟩: then ψ is to be ⟨v, μ⟩/m, τ = 1, and the bound is ε + ρδ + |φ|b, with

    (9)  ε′ = ε + (ρ − T)⁺·B,   δ′ = T·δ + (C₀ − T)(δ − B)⁺ + 2b   where |φ| ≤ 2, else as above.

**The screen** (``screen.py``) has for a row and a query codes in p directions, the columns
of *any* matrix V: ĥ = s·c and ĝ = t·d. Write M = VᵀV. Then

    u = Vĥ + (u − Vĥ),   v = Vĝ + (v − Vĝ)
    ⟨v, u⟩ = ⟨Vᵀv, ĥ⟩ + ⟨ĝ, Vᵀ(u − Vĥ)⟩ + ⟨v − Vĝ, u − Vĥ⟩,

and with ⟨Vᵀv, ĥ⟩ = ⟨ĝ, ĥ⟩ + ⟨Vᵀv − ĝ, ĥ⟩, by Cauchy–Schwarz three times,

    (6)  ⟨v, u⟩ ≤ t·s·I + δ‖ĥ‖ + ‖ĝ‖η + τρ,
         δ ≥ ‖Vᵀv − ĝ‖,  η ≥ ‖Vᵀu − Mĥ‖,  τ ≥ ‖v − Vĝ‖,  ρ ≥ ‖u − Vĥ‖.

Nothing is asked of V, such as to be orthonormal, or to have the same bits everywhere: a bad
V only makes the right side large. κ ≥ ‖M − 1‖ (Frobenius) is measured in float64. The
float32 products h ≈ Vᵀx/‖x‖ (``products.py``), in whatever order they are summed and
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
to float32 (of values below 4) and for float64: E² = ‖h‖² − 2a + b is taken from three sums of values
below 9 in all, of 20 roundings each, so that E is off by 2⁻²² at most. For the rows at hand
H is their largest η, and ‖ĥ‖ ≤ ‖Vᵀu‖ + π + E ≤ 1 + κ + H.

    cosine          s′ = s            μ = ρ            w = τ/t
    inner product   s′ = s·‖x‖·P      μ = ρ·‖x‖·P      w = τ/t
    (7)  θ = (root·P/‖q‖ − (δ·(1 + κ + H) + ‖ĝ‖·H + 2⁻¹⁸)·L) / t,   rounded down as in (4).

    euclidean       s′, μ, w as in (5); in θ of (5), the largest ρ of the rows at hand times τ
                    stands for E, and δ·(1 + κ + H) + ‖ĝ‖·H + 2⁻¹⁸ for δ + 2⁻¹⁹.

In float32: κ ≤ 1 (a matrix further from orthonormal is replaced by zeros), so ‖V‖₂ ≤ √2,
and the two terms on the left are, in units of 1/t, at most ‖ĝ‖‖ĥ‖L ≤ 4L and L; eight
roundings of relative size 2⁻²⁴ move their sum by less than 8·5L·2⁻²⁴ < 2⁻¹⁸·L.

**Leading codes** are codes of the directions VR, for a fixed matrix R (p × 64). All of (6) holds for VR as
for any V, with measures of its own: κ from (VR)ᵀVR in float64, and instead of π

    π′ = √(1 + ‖RᵀR − 1‖)·π + γ′·‖R‖·(1 + κ + π),   γ′ = p·2⁻²⁴/(1 − p·2⁻²⁴),

because h′ is a float32 product of h with R: the first term is ‖R‖₂ times what h is off by, the second the
rounding of that product, as above. A row keeps one number instead of ρ and η, its reach R̂ ≥ ρ + 3η, rounded
up to 8 binary digits (its scale is rounded so before it codes anything). With σ = max(τ, ‖ĝ‖/3),

    (10)  ⟨v, u⟩ ≤ t·s·I + δ‖ĥ‖ + σ·R̂,   because σρ ≥ τρ and σ·3η ≥ ‖ĝ‖η.

The test is (7) with R̂ for ρ, σ for τ, 2⁻⁴ for H and without ‖ĝ‖·H: rows of η > 2⁻⁴ get R̂ = 2³⁰, and pass,
because σR̂ ≥ τR̂ ≥ 2¹⁰. Else R̂ ≤ 1.2, so that the terms on the left are at most 4L and 1.3L,
and the eight roundings stay below 2⁻¹⁸·L. A row that passes (10) is tested by (6) in float64, with its own η
and ‖ĥ‖ ≤ 1 + κ + η; what the measures have to spare pays for those roundings, as in (3).

R is made anew where a folder is opened, and its rows may have been coded with an R₀ whose entries were
rounded otherwise, ‖R − R₀‖ ≤ 2⁻¹⁷. With R₀ in place of R, a query's δ is larger by at most √2·2⁻¹⁷, its τ by
√2·2⁻¹⁷·‖ĝ‖ and κ by 4.1·2⁻¹⁷. For that, 2⁻¹⁴ is part of κ and of π′, of which 2π′‖ĝ‖ is part of τ² ≤ 1.

A row that passes gets the interval (3) from its full codes: only upper ends come from a
screen. The threshold before a scan (``seeds.py``) is the least of k exact scores.

**The direct pass** (``direct.py``) sums p ≈ ⟨q, x⟩ and σ ≈ ‖x‖² in float32, 32 lanes and then
a tree, fused or not. So with e = (dims/32 + 10)·1.01·2⁻²⁴,

    (11)  |p − ⟨q, x⟩| ≤ e·‖q‖‖x‖   and   σ/(1 + e) ≤ ‖x‖² ≤ σ/(1 − e),

as long as ‖q‖‖x‖ is from 2⁻⁸⁰ to 2¹²⁰ and σ from 2⁻⁶⁰ to 2¹⁰⁰: nothing overflows, and what
underflows (2⁻¹⁴⁹ a term) is negligible. Other rows get ‖x‖² from float64; σ of a row that is not
finite is among these. With y² = σ(1 − e) ≤ ‖x‖² and l = ‖q‖·y, y is the norm and p/l the cosine
from which ``metrics.interval`` takes the upper end, with the error 2.1·e. As l ≤ ‖q‖‖x‖ ≤ l/(1 − e)
and |p|/l ≤ (1 + e)/(1 − e),

    cosine          ⟨v, u⟩ ≤ p/(‖q‖‖x‖) + e ≤ p/l + e·|p|/l + e
    inner product   ⟨q, x⟩ ≤ p + e·‖q‖‖x‖ ≤ l·(p/l + e/(1 − e))
    euclidean       D² ≥ ‖q‖² + y² − 2·(the line above).

e is at most 2⁻¹¹, so each error is below 2.01·e; the rest pays for float64. Only a row whose upper
end is strictly below the worst score of a full heap is passed over.
"""

from .compile import inline

MEASURED_SLACK = 2.0**-20
"""Added to a measured error for the roundings in measuring it; half of it is left as r."""

ROW_ERROR, QUERY_ERROR = 5 * 2.0**-10, 2.0**-7
"""A and B of (8): errors of codes that are rarely larger."""

LONGEST = 1.125
"""C₀ of (8): no code of what lies beside a direction is longer."""

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


@inline
def folded_error(own, length, reach, usual, other, rest):
    """The error of (8) in one number, from that of the codes and the length of what they stand for."""
    if length > LONGEST:
        return 1.0
    error = reach * own + (LONGEST - reach) * max(0.0, own - usual) + max(0.0, length - reach) * other
    return error + rest + 2.0 * MEASURED_SLACK
