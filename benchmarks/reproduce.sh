#!/bin/sh
# Every table of docs/benchmarks.md, from a folder with the public records that the page names.
#   sh benchmarks/reproduce.sh DATA OUT [MINUTES] [DEVICE]
# MINUTES of processor time for each training (3 by default), DEVICE auto, cpu or cuda: on a GPU the
# networks of this system train there, the rivals on the processor beside it. A killed run goes on
# where it was. On one core allow six hours; several runs may fill one table at once.
set -eu
DATA=$1 OUT=$2 MINUTES=${3:-3} DEVICE=${4:-cpu}
mkdir -p "$OUT"
RIVALS=share,climatology,nearest,bilinear,idw,kriging,simulation,srcnn,srresnet,urbanfm,fode,stcf,urbansta,diffuflow
OWN=default,mean,prior
PAPERS=apart-prior,apart,full,joint-only,detached,no-point-former,no-pattern-net,no-prior

compare() {  # name, then history, methods and options of `geodiffrecon compare`
    name=$1; shift
    geodiffrecon compare "$@" --device "$DEVICE" --json "$OUT/$name.json" \
        --report "$OUT/$name.html" --markdown "$OUT/$name.md"
}
flows() {
    name=$1; shift
    compare "$name" "$DATA/sf_taxi_public.nc" --variable inflow --aggregation sum \
        --calendar-tz America/Los_Angeles --until 2008-05-31T05:30Z "$@"
}
warmth() {
    compare era "$DATA/era5_t2m_uk_2019-03.nc" --rows 0 32 --cols 8 40 --factor 4 \
        --aggregation mean --missing 0.2,0.4,0.6,0.8,0.95 --max-minutes "$MINUTES" "$@"
}

# flows and a smooth field: every method, every pattern
flows sf --factor 4 --missing 0.2,0.4,0.6,0.8,0.95 --max-minutes "$MINUTES" \
    --methods "$OWN,$RIVALS"
flows sf --factor 4 --patterns complete,random,fixed --missing 0.4,0.8 --max-minutes "$MINUTES" \
    --seeds 3 --methods "$OWN,diffuflow"
flows sf --factor 4 --patterns random,fixed --missing 0.4,0.8 --max-minutes "$MINUTES" \
    --methods unet,paper
flows sf --factor 4 --patterns fixed --missing 0.4,0.8 --max-minutes "$MINUTES" \
    --methods urbansta-fixed
warmth --methods "$OWN,$RIVALS,unet"
warmth --methods paper --patterns random,fixed --missing 0.4,0.8

# sharp rain: ensembles
python benchmarks/rain_windows.py "$DATA/rain_radar_nl.nc" "$OUT/rain.nc"
compare rain "$OUT/rain.nc" --crs none --factor 4 --aggregation mean --kind positive \
    --until 2000-01-07T17:20:00Z --patterns complete,random,block --missing 0.4,0.8 --masks 2 \
    --max-minutes "$MINUTES" \
    --methods "$OWN,diffused,share,kriging,simulation,bilinear,nearest,diffuflow,urbansta,unet,paper"

# the paper's ablations, three seeds
flows sfabl --factor 4 --patterns complete,random,fixed --missing 0.2,0.8 --masks 2 --samples 0 \
    --max-minutes "$MINUTES" --seeds 3 --methods "$PAPERS"

# weather (nytaxi_weather.csv with its first column renamed to time and its dates as YYYY-MM-DD);
# size of a coarse cell; growth
for weather in "" "--external $DATA/nytaxi_weather_iso.csv"; do
    # shellcheck disable=SC2086
    compare "ny${weather:+_weather}" "$DATA/nytaxi_30min.nc" --variable flow0 --crs none --factor 4 \
        --aggregation sum --calendar-tz America/New_York --patterns complete,random,fixed \
        --missing 0.4 --masks 2 --samples 16 --max-minutes "$MINUTES" \
        --methods default,prior,share $weather
done
for factor in 2 8; do
    flows "sf_n$factor" --factor "$factor" --patterns complete,random --missing 0.4,0.8 --masks 2 \
        --samples 16 --max-minutes "$MINUTES" --methods "$OWN,share,bilinear"
done
python benchmarks/scaling.py --markdown "$OUT/scaling.md"

# Gaussian worlds and a mixture, beside their exact posterior
for preset in paper default; do
    for world in exponential mixture; do
        python benchmarks/exact.py run --preset "$preset" --world "$world" --frames 5000 \
            --minutes 15 --out "$OUT/exact_${preset}_$world.json"
    done
done
python benchmarks/exact.py covariance --minutes "$MINUTES" --out "$OUT/exact_covariance.json"

# stations alone: the recipe beside kriging, what each part brings, and maps against a known truth
PM25="$DATA/beijing_pm25_stations_public.csv.gz" WEATHER="$DATA/beijing_weather_public.csv"
geodiffrecon fit "$PM25" --value pm25 --time time --x longitude --y latitude --crs EPSG:4326 \
    --station station --freq 1h --calendar-tz Asia/Shanghai --bounds 115.7 39.4 117.2 41.1 \
    --shape 16 16 --factor 4 --aggregation mean --external "$WEATHER" --until 2014-11-01 \
    --model "$OUT/beijing.gdr"
geodiffrecon evaluate "$PM25" --model "$OUT/beijing.gdr" --folds 4 --every 3 \
    --external "$WEATHER" --json "$OUT/beijing.json" --report "$OUT/beijing.html"
python benchmarks/stations.py parts "$PM25" --weather "$WEATHER" --until 2014-11-01 \
    --json "$OUT/beijing_parts.json"
python benchmarks/stations.py sample --json "$OUT/sample_stations.json"
