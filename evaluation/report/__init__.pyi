from .data_page import DataPage as DataPage, PageTable as PageTable, render_data_page as render_data_page
from .growth import LEAST_VARIABLE_S as LEAST_VARIABLE_S, GrowthPoint as GrowthPoint, StageGrowth as StageGrowth
from .leaderboard import BoardFormat as BoardFormat, render_leaderboard as render_leaderboard
from .loss_charts import LossCurve as LossCurve
from .report import (
    REPORT_VERSION as REPORT_VERSION,
    ContactSheet as ContactSheet,
    CurvePoint as CurvePoint,
    FunnelStep as FunnelStep,
    Note as Note,
    Picture as Picture,
    ReportData as ReportData,
    StageTiming as StageTiming,
    TrainingCurve as TrainingCurve,
    render_report as render_report,
)
from .score_columns import frames_words as frames_words, size_words as size_words
from .scorecard import render_scorecard as render_scorecard
from .subgroups import (
    Subgroups as Subgroups,
    prediction_files as prediction_files,
    prediction_table as prediction_table,
    subgroups_of as subgroups_of,
)
from .timeline import (
    ArchiveFrame as ArchiveFrame,
    Timeline as Timeline,
    TimelineEpisode as TimelineEpisode,
    TimelinePicture as TimelinePicture,
    TimelineRow as TimelineRow,
    render_timeline as render_timeline,
)
from .verdict import beside_baselines as beside_baselines
