"""The figures a reader moves: their mathematics under node, and in Chromium from file:// against torch."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import BOOK, HTML, ROOT, built

from rotvq.page.figures import ARMS
from rotvq.quantizers.estimators import ESTIMATORS, rotate, straight_through

NAMES = ["codebook", "field", "collapse", "angle", "drift"]
DRAWN = ["ste", "rotation", "rotation_only", "scale_only", "clipped", "reflection", "radial_free", "radial_free_scale"]

PAGE = """<!doctype html><html data-theme="light"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>html[data-theme=dark] {{ --pst-color-text-base: #ced6dd; --pst-color-background: #14181e;
--pst-color-border: #48566b; --pst-color-text-muted: #9ca4af; background: #14181e }}</style>
<link rel="stylesheet" href="{assets}/rotvq-figures.css"><script defer src="{assets}/figures/core.js?v=1"></script>
<body style="margin: 0; height: 3000px"><figure style="margin: 0">
<img class="rotvq-{name}" alt="alternative of {name}" src="{book}/figures/{name}.svg">
<figcaption>Fig. 1</figcaption></figure></body></html>"""


def node():
    """The node of the system, else the one that playwright brings."""
    import playwright

    bundled = Path(playwright.__file__).parent / "driver" / "node"
    return shutil.which("node") or str(bundled)


def test_mathematics_without_a_browser():
    files = sorted(map(str, (ROOT / "tests" / "js").glob("*.test.js")))
    assert files
    command = [node(), "--test", "--test-reporter=spec", *files]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.fixture
def figure(chromium, tmp_path):
    """figure(name, **context options) -> a page from file:// with one live figure; fails on any error."""
    opened, problems = [], []

    def go(name, live=True, **options):
        context = chromium.new_context(**{"viewport": {"width": 700, "height": 900}, **options})
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(e.message))
        page.on("request", lambda r: None if r.url.startswith("file:") else problems.append(r.url))
        path = tmp_path / f"{name}.html"
        html = PAGE.format(name=name, book=BOOK.as_uri(), assets=(BOOK / "assets").as_uri())
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        if live:
            page.wait_for_selector(".mv svg")
        return page

    yield go
    for context in opened:
        context.close()
    assert problems == []


def state(page, key):
    return page.evaluate(f"document.querySelector('.mv').state.{key}")


def vec(x):
    return torch.tensor(x, dtype=torch.float64)


def drag(page, handle, dx, dy):
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()


# ---- against torch


def test_colours_and_names_are_those_of_the_other_figures():
    css = (BOOK / "assets" / "rotvq-figures.css").read_text("utf-8")
    script = (BOOK / "assets" / "figures" / "plane.js").read_text("utf-8")
    for name in DRAWN:
        assert f".mv-{name} {{ color: {ARMS[name].color}; }}" in css
        assert f'{name}: ["{ARMS[name].label}", ' in script


def test_pull_backs_agree_with_torch(figure):
    page = figure("codebook")
    generator = torch.Generator().manual_seed(1)
    for d in (2, 3, 64):
        z, q, g = torch.randn(3, 40, d, dtype=torch.float64, generator=generator)
        z[0], q[1], q[2], q[3] = 0, 0, -z[2], z[3]  # the four degenerate places
        args = [z.tolist(), q.tolist(), g.tolist(), DRAWN]
        pull = "([z, q, g, names]) => names.map(n => z.map((_, i) => rotvq.pull(n, z[i], q[i], g[i])))"
        js = page.evaluate(pull, args)
        for name, found in zip(DRAWN, js, strict=True):
            # float64 on both sides; near b = -a the unit bisector loses digits, none of these is that near
            torch.testing.assert_close(vec(found), ESTIMATORS[name].pull_back(z, q, g), rtol=1e-9, atol=1e-9)


def test_drawn_arrows_agree_with_torch_after_dragging(figure):
    page = figure("codebook")
    for box in page.get_by_role("checkbox").all():
        box.check()
    before = state(page, "z")
    drag(page, page.get_by_role("slider", name="encoder output z"), -60, 25)
    drag(page, page.get_by_role("slider", name="tip of the step"), 40, -30)
    drag(page, page.get_by_role("slider", name="centre"), 45, 50)
    drag(page, page.get_by_role("slider", name="code 1"), 15, 40)
    z, g, codes, centre = (vec(state(page, key)) for key in ("z", "g", "codes", "centre"))
    assert (z - vec(before)).norm() > 0.5 < centre.norm()
    q = codes[(codes - z).square().sum(-1).argmin()]
    for name in DRAWN:
        path = page.locator(f".mv path.mv-{name}").get_attribute("d")
        tip = vec([float(x) for x in re.search(r"L([^L]+),([^L]+)L[^L]*z$", path).groups()])
        v = (tip - vec([200, 200])) / vec([66, -66]) - z
        # 66 pixels a unit, written to a tenth of a pixel
        torch.testing.assert_close(v, -ESTIMATORS[name].pull_back(z, q, g, centre=centre), rtol=0, atol=0.06 / 66)


def test_field_agrees_with_torch(figure):
    page = figure("field")
    points = (4 * torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 2).tolist()
    drag(page, page.get_by_role("slider", name="centre"), 40, -30)
    codes, y, g, centre = (vec(state(page, key)) for key in ("codes", "y", "g", "centre"))
    assert centre.norm() > 0.5
    for loss in ("constant", "quadratic"):
        for name in DRAWN:
            args = [points, {"estimator": name, "loss": loss, "centre": centre.tolist()}]
            velocity = "([z, s]) => z.map(p => rotvq.field.velocity({...rotvq.field.START, ...s}, p))"
            js = vec(page.evaluate(velocity, args))
            z = vec(points)
            q = codes[torch.cdist(z, codes).argmin(-1)]
            v = -ESTIMATORS[name].pull_back(z, q, g.expand_as(z) if loss == "constant" else q - y, centre=centre)
            v = v * (8 / v.norm(dim=-1, keepdim=True)).clamp_max(1)
            torch.testing.assert_close(js, v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "estimator"), [("ste", straight_through), ("rotation", rotate)])
def test_collapse_rates_are_the_gradients_of_the_loss(figure, kind, estimator):
    """Data on a line, two codes: the rates of the figure against autograd through the estimator."""
    page = figure("collapse")
    n = 2000
    x = torch.erfinv(2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n - 1).unsqueeze(-1)
    x = x / x.square().mean().sqrt()
    c = x.abs().mean() * x.sign()  # the centroid of each half
    rho = c.square().mean().item()
    p = {"gamma": 1.3, "decay": 0.4, "beta": 0.7, "rho": rho}
    for state_ in ([1.0, 0.3, 1.0], [0.4, 0.9, 1.7], [2.0, 1.1, 0.2]):
        s, t, w = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in state_)
        z, q = s * x, t * c
        loss = (x - w * estimator(z, q.detach())).square().mean() + p["decay"] * w.square()
        loss = loss + p["beta"] * (z.detach() - q).square().mean() / rho + p["gamma"] * (z - q.detach()).square().mean()
        loss.backward()  # the codes move at a rate taken per unit of |c|^2 = rho
        js = page.evaluate("([k, p, x]) => rotvq.collapse.rates(k, p, x)", [kind, p, state_])
        torch.testing.assert_close(vec(js), -torch.stack([s.grad, t.grad, w.grad]), rtol=1e-9, atol=1e-9)


def test_angle_law_agrees_with_torch(figure):
    page = figure("angle")
    generator, n, theta = torch.Generator().manual_seed(3), 20000, 70.0
    for d in (3, 16, 64):
        z, q = torch.eye(d, dtype=torch.float64)[:2]
        radians = torch.deg2rad(vec(theta))
        q = torch.cos(radians) * z + torch.sin(radians) * q
        g = torch.randn(n, d, dtype=torch.float64, generator=generator)
        v = ESTIMATORS["rotation"].pull_back(z.expand_as(g), q.expand_as(g), g)
        phi = torch.rad2deg(torch.acos(torch.cosine_similarity(v, g, dim=-1).clamp(-1, 1)))
        for share in (0.1, 0.5, 0.9):
            line = page.evaluate("([p, t, d]) => rotvq.angle.quantile(p, t, d)", [share, theta, d])
            found = (phi < line).double().mean().item()
            assert abs(found - share) < 5 * (share * (1 - share) / n) ** 0.5, (d, share)  # five standard errors


# ---- what a reader does


@pytest.mark.parametrize("name", NAMES)
def test_without_scripts_the_printed_figure_stays(figure, name):
    page = figure(name, live=False, java_script_enabled=False)
    assert page.locator("img").get_attribute("alt")
    assert page.locator("img").bounding_box()["width"] > 300
    assert page.locator(".mv").count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_live_figure_takes_its_place(figure, name):
    page = figure(name, viewport={"width": 390, "height": 800})
    assert page.locator("img").count() == 0 and page.locator("figure .mv + figcaption").count() == 1
    assert page.locator(".mv svg").get_attribute("aria-label") == f"alternative of {name}"
    assert page.locator(".mv output").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "NaN" not in page.locator(".mv").inner_html()
    unnamed = "es => es.filter(e => !(e.ariaLabel || e.labels?.[0]?.textContent || e.textContent)).length"
    assert page.locator(".mv :is(input, select, button, [role=slider])").evaluate_all(unnamed) == 0


@pytest.mark.parametrize("name", NAMES)
def test_both_themes(figure, name):
    page = figure(name)

    def ink(theme):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        fill = page.evaluate("getComputedStyle(document.querySelector('.mv text')).fill")
        return [int(x) for x in re.findall(r"\d+", fill)]

    light, dark = ink("light"), ink("dark")
    assert min(dark) > 128 > max(light)


def test_arrow_keys_move_a_point_and_reset_brings_it_back(figure):
    page = figure("codebook")
    handle = page.get_by_role("slider", name="encoder output z")
    handle.focus()
    x, y = state(page, "z")
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert state(page, "z") == pytest.approx([x + 0.08, y + 0.2])
    assert handle.get_attribute("aria-valuetext") == f"x {x + 0.08:.2f}, y {y + 0.2:.2f}".replace("-", "\u2212")
    for _ in range(80):
        page.keyboard.press("ArrowRight")
    assert state(page, "z")[0] == 3  # the edge
    page.get_by_role("button", name="Reset").click()
    assert state(page, "z") == [x, y]
    assert page.evaluate("document.activeElement.textContent") == "Reset"


def test_every_handle_can_be_reached_by_tab(figure):
    page = figure("codebook")
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("(e => e.ariaLabel || e.textContent || e.type)(document.activeElement)"))
    named = {"encoder output z", "tip of the step −g at q", "centre of the estimators", "code 1", "code 6"}
    assert named | {"checkbox", "Reset"} <= seen


def test_a_finger_moves_a_point_and_not_the_page(figure):
    page = figure("codebook", viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    box = page.get_by_role("slider", name="encoder output z").bounding_box()
    assert min(box["width"], box["height"]) >= 24  # room for a finger
    x, y, before = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, state(page, "z")
    touch = page.context.new_cdp_session(page)
    for kind, step in [("touchStart", 0), ("touchMove", 1), ("touchMove", 3), ("touchEnd", None)]:
        at = [] if step is None else [{"x": x - 10 * step, "y": y - 20 * step}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    after = state(page, "z")
    assert after[0] < before[0] - 0.3 and after[1] > before[1] + 0.6
    assert page.evaluate("scrollY") == 0
    assert page.locator(".mv").get_attribute("aria-busy") == "false"


def test_sliders_change_the_verdict(figure):
    page = figure("collapse")
    out = page.locator(".mv output")
    assert "STE settles" in out.text_content() and "rotation shrinks to 0" in out.text_content()
    page.get_by_role("slider", name="γ").press("Home")
    assert "rotation settles" in out.text_content()
    page.get_by_role("slider", name="γ").press("End")
    assert "STE shrinks to 0" in out.text_content()
    page = figure("angle")
    page.get_by_role("slider", name="d,").press("Home")
    assert "d = 2:" in page.locator(".mv output").text_content()


def test_the_flow_plays_pauses_and_steps(figure):
    page = figure("field")
    start = state(page, "t")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"document.querySelector('.mv').state.t > {start} + 0.1")
    page.get_by_role("button", name="Pause").click()
    paused = state(page, "t")
    page.wait_for_timeout(100)
    assert state(page, "t") == paused
    page.get_by_role("button", name="Step").click()
    assert state(page, "t") == pytest.approx(paused + 5 * state(page, "dt"))
    page.get_by_role("combobox", name="Gradient").select_option("quadratic")
    page.get_by_role("combobox", name="Estimator").select_option("ste")
    assert state(page, "loss") == "quadratic" and state(page, "estimator") == "ste"
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Reset").click()
    assert page.locator(".mv").get_attribute("aria-busy") == "false"
    assert page.get_by_role("combobox", name="Gradient").input_value() == "constant"


def test_reduced_motion_leaves_single_steps(figure):
    page = figure("field", reduced_motion="reduce")
    assert page.get_by_role("button", name="Play").count() == 0
    before = state(page, "t")
    page.get_by_role("button", name="Step").click()
    assert state(page, "t") > before


@pytest.mark.parametrize("arm, member", [("rotation", "rotation"), ("ste", "ste"), ("turn", "rotation_only")])
def test_drift_is_the_race_of_its_chapter(figure, arm, member):
    from book.theory import drift

    page = figure("drift")
    fresh = "const D = rotvq.drift, s = D.fresh({...structuredClone(D.START), arm});"
    before = "const first = structuredClone([s.z, s.code]);"
    steps = "for (let i = 0; i < 60; i++) D.step(s); return [...first, s.centre, s.z, s.code]"
    z, codes, centre, later, moved = map(vec, page.evaluate(f"(arm) => {{ {fresh} {before} {steps} }}", arm))
    start = page.evaluate("rotvq.drift.START")
    options = {"follow": start["follow"], "gamma": start["gamma"], "rate": start["dt"]}
    run = drift.race(z - centre, codes - centre, member=member, steps=60, **options)
    torch.testing.assert_close(run.latents, later - centre, rtol=0, atol=1e-10)
    torch.testing.assert_close(run.codes, moved - centre, rtol=0, atol=1e-10)


FRAME = {  # one frame: what a drag or a clock tick calls, with 200 points in the figure
    "codebook": "s.z[0] = 2 * Math.sin(i); s.codes[i][1] += 0.01; s.cells(); s.draw()",
    "field": "s.step(); s.draw()",
    "collapse": "s.gamma = 0.5 + i / 20; s.draw()",
    "angle": "s.theta = 1 + i; s.draw()",
    "drift": "s.run(1)",
}
FRAMES = """([name, count]) => {
  const uniform = rotvq.random(5), codes = Array.from({length: 200}, () => [6 * uniform() - 3, 6 * uniform() - 3]);
  const box = document.createElement("div"), shown = ["ste", "rotation", "clipped", "reflection"];
  document.body.append(box);
  const s = rotvq[name].build(box, "", name === "codebook" ? {codes, shown} : {});
  for (let i = 0; i < count; i++) { FRAME }
}"""


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_of_200_points_takes_under_8_ms(figure, name):
    page, count = figure(name), 120
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})  # processor time: a busy machine does not count

    def seconds():
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    start = seconds()
    page.evaluate(FRAMES.replace("FRAME", FRAME[name]), [name, count])
    assert 0 < (seconds() - start) / count < 0.008  # the mean, first frames and compilation included


HOMES = {
    "codebook": "02_one_equation",
    "field": "04_encoder_feels",
    "collapse": "06_collapse",
    "angle": "03_rotation",
    "drift": "25_drift",
}


def test_each_figure_stands_in_its_chapter_and_in_the_gallery_which_leads_there():
    pages = {p.stem: p.read_text("utf-8") for p in [*(ROOT / "notebooks").glob("*.py"), *BOOK.glob("*.md")]}
    for name, home in HOMES.items():
        assert {page for page, text in pages.items() if f":class: rotvq-{name}" in text} == {home, "play"}
        assert f":name: fig-play-{name}\n" in pages[home]
        assert f"{{numref}}`fig-play-{name}`" in pages["play"] and f"<notebooks/{home}>" in pages["play"]


def test_the_gallery_is_live(chromium):
    built()
    page = chromium.new_page()
    page.goto((HTML / "play.html").as_uri())
    for name in NAMES:
        page.locator(f".mv-{name} svg.mv-svg").wait_for()
    assert page.locator("article img").count() == 0
    handle = page.get_by_role("slider", name="encoder output z")
    before = handle.get_attribute("aria-valuetext")
    handle.press("ArrowRight")
    assert handle.get_attribute("aria-valuetext") != before
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_in_its_chapter_it_is_live_and_numbered(chromium, name):
    built()
    page = chromium.new_page()
    page.route("**/mathjax/**", lambda route: route.abort())  # a figure does not wait for the mathematics about it
    page.goto((HTML / "notebooks" / f"{HOMES[name]}.html").as_uri())
    live = page.locator(f"figure:has(.mv-{name})")
    live.locator("svg.mv-svg").wait_for()
    assert re.match(r"Fig\. \d+\.\d+", live.locator("figcaption").text_content().strip())
    page.close()
