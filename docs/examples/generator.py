#!/usr/bin/env python3
"""A generator for GENERATOR=command: one template per run.

It reads one JSON object on standard input and prints one on standard output, as docs/generators.md
describes. A real generator would call a model here. This one always writes the same six widgets, so that it
works without a model:

    GENERATOR=command GENERATOR_COMMAND='python3 docs/examples/generator.py' conch run
"""

import json
import sys

COLORS = {
    "roi-focused": ("#2563eb", "#1e40af"),
    "clinical-outcomes": ("#0891b2", "#06b6d4"),
    "operational-efficiency": ("#7c3aed", "#6366f1"),
    "competitive-positioning": ("#f97316", "#ea580c"),
    "comprehensive": ("#2563eb", "#16a34a"),
}
METRIC = {"name": "Savings", "expression": "SUM(savings_amount)", "data_type": "currency", "format": "$0.0a"}


def widget(number, kind, title, position, config, data, query_type="aggregate", chart=None):
    row, col, rows, columns = position
    made = {
        "id": f"widget-{number}",
        "type": kind,
        "title": title,
        "position": {"row": row, "col": col, "rowSpan": rows, "colSpan": columns},
        "analytics_question": "How much has been saved, and where?",
        "data_requirements": {
            "query_type": query_type,
            "metrics": [METRIC],
            "time_range": {"type": "relative", "value": "last_12_months"},
        },
        "config": config,
        "data": data,
    }
    if chart:
        made["chartType"] = chart
    return made


def template(brief):
    client = " ".join(brief["client"]["name"].split())[:40] or "This client"
    name = f"{client}: {brief['category']} for {brief['target_audience']}"
    # Names of a job's templates must differ.
    while name in brief["names"]:
        name += " (again)"
    primary, accent = COLORS[brief["category"]]
    metrics = [{"name": "savings", "label": "Savings"}, {"name": "cost", "label": "Cost"}]
    widgets = [
        widget(1, "kpi-card", "Savings so far", (1, 1, 2, 3), {"icon": "dollar-sign", "subtitle": "this year"},
               {"value": 120000, "unit": "USD", "baseline": 0, "target": 200000, "change_percent": 12.5, "trend": "up"}),
        widget(2, "gauge-chart", "Target reached", (1, 4, 2, 3), {"min_value": 0, "max_value": 100},
               {"value": 60, "target": 100, "unit": "%"}),
        widget(3, "kpi-grid", "At a glance", (1, 7, 2, 6), {"metrics": metrics}, {}),
        widget(4, "line-chart", "Savings by month", (3, 1, 3, 8), {"x_axis": "Month", "y_axis": "USD"},
               {"labels": ["Jan", "Feb"], "series": [{"name": "Savings", "values": [50000, 70000]}], "target": 90000, "unit": "USD"},
               query_type="time-series", chart="line"),
        widget(5, "donut-chart", "Savings by service", (3, 9, 3, 4), {"show_labels": True, "inner_radius": 0.6},
               {"items": [{"label": "Pharmacy", "value": 60}, {"label": "Inpatient", "value": 40}], "unit": "%"},
               query_type="distribution", chart="donut"),
        widget(6, "data-table", "Savings in detail", (6, 1, 3, 12),
               {"columns": [{"key": "segment", "label": "Service"}, {"key": "current", "label": "Savings"}]},
               {"rows": [{"segment": "Pharmacy", "current": 72000}]}, query_type="comparison"),
    ]
    return {
        "name": name[:100],
        "description": f"What {client} promises, for a {brief['target_audience']} audience.",
        "category": brief["category"],
        "targetAudience": brief["target_audience"],
        "keyFeatures": [
            "Savings against their target",
            "Where they come from",
            f"Template {brief['template_index']} of {brief['total_templates']}",
        ],
        "widgets": widgets,
        "visualStyle": {"primaryColor": primary, "accentColor": accent, "layout": "balanced"},
        "recommendedUseCase": "A first look at a generator of one's own",
    }


def main():
    # JSON is UTF-8, whatever the locale says.
    brief = json.loads(sys.stdin.buffer.read())
    if brief["last_failure"]:
        # What was wrong with the last answer; a real generator would pass it to its model.
        print(f"try {brief['try_number']}: {brief['last_failure']}", file=sys.stderr)
    answer = {"template": template(brief), "reasoning": "The same six widgets for everybody: this is an example."}
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode())


if __name__ == "__main__":
    main()
