//! The terminal's picture.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::View;
use super::rates::PortRates;
use crate::ctl::number::rate;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let graph = if area.height >= 16 { 5 } else { 0 };
    let parts = [Constraint::Length(1), Constraint::Length(graph), Constraint::Min(2), Constraint::Length(1)];
    let [head, middle, ports, foot] = Layout::vertical(parts).areas(area);
    let line = match &view.trouble {
        None => Line::from(view.rates.headline()).bold(),
        Some(why) => Line::from(why.as_str()).fg(Color::Red),
    };
    frame.render_widget(line, head);
    if graph > 0 {
        draw_graph(frame, view, middle);
    }
    draw_ports(frame, view, ports);
    let help = Line::from("q quit  ↑↓ scroll").style(Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(help, foot);
}

fn draw_graph(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = usize::from(area.width);
    let data = &view.history[view.history.len().saturating_sub(columns)..];
    let most = data.iter().copied().max().unwrap_or(0);
    let now = rate(view.rates.total_pps());
    let title = format!(" {now} frames/s, at most {} ", rate(most as f64));
    let block = Block::new().borders(Borders::TOP).title(title);
    let graph =
        Sparkline::default().block(block).data(data).max(most.max(1)).style(Style::new().fg(Color::Cyan));
    frame.render_widget(graph, area);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Text::from(text).alignment(Alignment::Right))
}

fn draw_ports(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let names = ["PORT", "KIND", "STATE"].map(Cell::from);
    let figures = ["IN pps", "Gbit/s", "OUT pps", "Gbit/s"].map(|t| right(t.to_owned()));
    let header = Row::new(names.into_iter().chain(figures).chain([Cell::from("DROPS/s")]));
    let row = |p: &PortRates| {
        let state = Style::new().fg(if p.state == "up" { Color::Green } else { Color::DarkGray });
        let names = [
            Cell::from(p.name.clone()),
            Cell::from(p.kind.clone()),
            Cell::from(p.state.clone()).style(state),
        ];
        let drops = Cell::from(p.drops_text());
        let drops = if p.drops.is_empty() { drops } else { drops.style(Style::new().fg(Color::Red)) };
        Row::new(names.into_iter().chain(p.figures().map(right)).chain([drops]))
    };
    let lines = usize::from(area.height.saturating_sub(1));
    let offset = view.offset.min(view.rates.ports.len().saturating_sub(lines));
    let rows: Vec<_> = view.rates.ports.iter().skip(offset).take(lines).map(row).collect();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("no ports"), area);
        return;
    }
    // Together with the gaps these fill 80 columns, and what is more goes to the drops.
    let widths = [
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Min(18),
    ];
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Table::new(rows, widths).header(header.style(style)).column_spacing(1), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn picture(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    fn view() -> View {
        let port = PortRates {
            name: "abcdefghijkl".into(),
            kind: "packet".into(),
            state: "waiting".into(),
            in_pps: 14_880_000.0,
            in_bps: 9.99e9,
            out_pps: 123.0,
            drops: vec![("no_destination".into(), 250.0)],
            ..PortRates::default()
        };
        let mut view = View::default();
        view.update(super::super::Rates {
            switch: "vale0".into(),
            ports: vec![port; 40],
            ..Default::default()
        });
        view
    }

    #[test]
    fn fits_a_small_terminal() {
        let text = picture(&view(), 80, 24);
        for want in
            ["vale0", "abcdefghijkl packet waiting", "14.9 M", "9.990", "no_destination 250", "q quit"]
        {
            assert!(text.contains(want), "no {want:?} in\n{text}");
        }
        for (width, height) in [(1, 1), (20, 3), (80, 15), (300, 100)] {
            picture(&view(), width, height);
        }
    }

    #[test]
    fn shows_trouble() {
        let view = View { trouble: Some("no daemon answers".into()), ..View::default() };
        let text = picture(&view, 80, 24);
        assert!(text.contains("no daemon answers") && text.contains("no ports"), "{text}");
    }
}
