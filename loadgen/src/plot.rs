//! `--svg`: latency by percentile, both axes logarithmic, so that the tail takes the room it deserves.

use hdrhistogram::Histogram;

use crate::quantity::micros_text;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;

/// A drawing of the curves of `response` and `service`, with a line at `limit_us` if there is one.
pub(crate) fn svg(title: &str, subtitle: &str, response: &Histogram<u64>, service: &Histogram<u64>, limit_us: Option<f64>) -> String {
    let curves = [("response time", "response", curve(response)), ("service time", "service", curve(service))];
    let nines = nines_shown(response.len().max(service.len()));
    let all = || curves.iter().flat_map(|(_, _, points)| points.iter().map(|&(_, us)| us)).chain(limit_us);
    // Whole powers of ten around everything shown.
    let low = all().fold(f64::MAX, f64::min).clamp(0.1, 1e9).log10().floor();
    let high = (all().fold(0.0, f64::max).max(1.0) * 1.000_001).log10().ceil().max(low + 1.0);
    let x = |nine: f64| LEFT + nine / nines * (WIDTH - LEFT - RIGHT);
    let y = |us: f64| HEIGHT - BOTTOM - (us.max(1e-3).log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n{STYLE}"
    );
    out.push_str(&format!("<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"));
    out.push_str(&format!("<text class=\"title\" x=\"{LEFT}\" y=\"26\">{}</text>\n", escape(title)));
    out.push_str(&format!("<text class=\"soft\" x=\"{LEFT}\" y=\"44\">{}</text>\n", escape(subtitle)));
    let mut decade = low;
    while decade <= high + 1e-9 {
        let at = y(10f64.powf(decade));
        out.push_str(&format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n", WIDTH - RIGHT));
        out.push_str(&format!(
            "<text class=\"soft\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            round_micros(10f64.powf(decade))
        ));
        decade += 1.0;
    }
    for (nine, label) in [
        (0.0, "0"),
        (std::f64::consts::LOG10_2, "50%"),
        (1.0, "90%"),
        (2.0, "99%"),
        (3.0, "99.9%"),
        (4.0, "99.99%"),
        (5.0, "99.999%"),
        (6.0, "99.9999%"),
    ] {
        if nine > nines {
            break;
        }
        let at = x(nine);
        out.push_str(&format!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\n", HEIGHT - BOTTOM));
        out.push_str(&format!(
            "<text class=\"soft\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{label}</text>\n",
            HEIGHT - BOTTOM + 18.0
        ));
    }
    out.push_str(&format!(
        "<text class=\"soft\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">share of operations that were faster</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 14.0
    ));
    if let Some(limit) = limit_us {
        let at = y(limit);
        out.push_str(&format!("<line class=\"limit\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n", WIDTH - RIGHT));
        out.push_str(&format!(
            "<text class=\"limit-text\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">limit {}</text>\n",
            WIDTH - RIGHT,
            at - 6.0,
            micros_text(limit)
        ));
    }
    for (index, (name, class, points)) in curves.iter().enumerate() {
        let path: Vec<String> = points.iter().map(|&(nine, us)| format!("{:.1},{:.1}", x(nine.min(nines)), y(us))).collect();
        out.push_str(&format!("<polyline class=\"{class}\" points=\"{}\"/>\n", path.join(" ")));
        let at = TOP + 18.0 + index as f64 * 18.0;
        out.push_str(&format!("<line class=\"{class}\" x1=\"{}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/>\n", LEFT + 14.0, LEFT + 40.0));
        out.push_str(&format!("<text class=\"ink\" x=\"{}\" y=\"{}\">{name}</text>\n", LEFT + 48.0, at + 4.0));
    }
    out.push_str("</svg>\n");
    out
}

const STYLE: &str = "<style>
.page { fill: #fff } .title { font-size: 16px; font-weight: 600; fill: #1b1f24 } .ink { fill: #1b1f24 } .soft { fill: #59636e }
.grid { stroke: #d1d9e0; stroke-width: 1 } polyline { fill: none }
.response { stroke: #cf4a1b; stroke-width: 2 } .service { stroke: #1f6feb; stroke-width: 2; stroke-dasharray: 6 3 }
.limit { stroke: #8250df; stroke-width: 1.5; stroke-dasharray: 2 4 } .limit-text { fill: #8250df }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .title, .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #2a313c }
.response { stroke: #ff8a5c } .service { stroke: #6cb0ff } .limit { stroke: #c297ff } .limit-text { fill: #c297ff } }
</style>
";

/// Points of a percentile curve: nines (0 is the fastest, 1 is p90, 2 is p99) and microseconds. A few hundred at most.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let most = nines_shown(histogram.len());
    let steps = (most * 60.0) as usize;
    (0..=steps)
        .map(|step| {
            let nine = step as f64 / 60.0;
            let quantile = 1.0 - 10f64.powf(-nine);
            (nine, histogram.value_at_quantile(quantile) as f64 / 1e3)
        })
        .chain([(most, histogram.max() as f64 / 1e3)])
        .collect()
}

/// How far to the right there is data: a thousand operations know three nines.
fn nines_shown(count: u64) -> f64 {
    (count.max(10) as f64).log10().floor().clamp(2.0, 6.0)
}

fn round_micros(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us if us >= 1.0 => format!("{us} µs"),
        us => format!("{} ns", us * 1e3),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

    #[test]
    fn a_plot_is_well_formed_and_inside_its_frame() {
        let mut response = histogram();
        let mut service = histogram();
        for n in 1..=10_000u64 {
            response.record(n * 1_000).unwrap();
            service.record(n * 100).unwrap();
        }
        let svg = svg("a < b", "10k/s", &response, &service, Some(1_000.0));
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut before = (0.0, f64::MAX);
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y), "{point}");
            assert!(x >= before.0 && y <= before.1, "percentiles never fall: {point}");
            before = (x, y);
        }
    }

    #[test]
    fn nothing_measured_is_an_empty_frame() {
        let empty = histogram();
        let svg = svg("t", "s", &empty, &empty, None);
        assert!(svg.contains("points=\"\"") && !svg.contains("NaN"));
    }
}
